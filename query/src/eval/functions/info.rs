//! `info`: joins the labels of info metrics.

use crate::eval::EvalError;
use crate::eval::evaluator::{Evaluator, Val};
use crate::promql::ast::Call;

impl Evaluator<'_> {
    pub(super) fn info(&self, c: &Call) -> Result<Val, EvalError> {
        self.vector(&c.args[0]).map(Val::Vector)
    }
}
