//! `label_replace` and `label_join`.

use model::labels::METRIC_NAME;
use model::{Labels, Regex};

use crate::eval::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::stream::{Name, Stream};
use crate::promql::ast::{Call, Expr};
use crate::promql::quote::unquote;

/// Whether a label may be called as this string literal says: not empty, and valid UTF-8.
pub(crate) fn is_label_name(literal: &Expr) -> bool {
    let bytes = literal_bytes(literal);
    !bytes.is_empty() && std::str::from_utf8(&bytes).is_ok()
}

/// The bytes of a string literal. What is not UTF-8 only its source text can still tell.
pub(crate) fn literal_bytes(literal: &Expr) -> Vec<u8> {
    let literal = literal.unparen();
    let source = &literal.text[literal.span.start..literal.span.end];
    unquote(source).unwrap_or_default()
}

impl Evaluator<'_> {
    pub(super) fn label_replace<'e>(&self, c: &'e Call) -> Result<Stream<'e>, EvalError> {
        let mut stream = self.stream(&c.args[0])?;
        let destination = self.string(&c.args[1])?;
        let replacement = self.string(&c.args[2])?;
        let source = self.string(&c.args[3])?;
        let pattern = self.string(&c.args[4])?;
        let regex = Regex::anchored(&pattern).map_err(|_| {
            EvalError::Failed(format!(
                "invalid regular expression in label_replace(): {pattern}"
            ))
        })?;
        if !is_label_name(&c.args[1]) {
            return Err(EvalError::Failed(format!(
                "invalid destination label name in label_replace(): {destination}"
            )));
        }
        // Each reference may stand for the whole value.
        let references = replacement.matches('$').count();
        let names = self.relabeled(self.names(&mut stream)?, &destination, |labels| {
            let value = labels.get(&source).unwrap_or("");
            self.affords(
                references
                    .saturating_mul(value.len())
                    .saturating_add(replacement.len()),
            )?;
            Ok(regex.expand(value, &replacement))
        })?;
        self.distinct(stream.renamed(names))
    }

    pub(super) fn label_join<'e>(&self, c: &'e Call) -> Result<Stream<'e>, EvalError> {
        let mut stream = self.stream(&c.args[0])?;
        let destination = self.string(&c.args[1])?;
        let separator = self.string(&c.args[2])?;
        let mut sources = Vec::new();
        for arg in &c.args[3..] {
            let source = self.string(arg)?;
            if !is_label_name(arg) {
                return Err(EvalError::Failed(format!(
                    "invalid source label name in label_join(): {source}"
                )));
            }
            sources.push(source);
        }
        if !is_label_name(&c.args[1]) {
            return Err(EvalError::Failed(format!(
                "invalid destination label name in label_join(): {destination}"
            )));
        }
        let names = self.relabeled(self.names(&mut stream)?, &destination, |labels| {
            let values: Vec<&str> = sources
                .iter()
                .map(|l| labels.get(l).unwrap_or(""))
                .collect();
            let all: usize = values.iter().map(|v| v.len()).sum();
            self.affords(all.saturating_add(separator.len().saturating_mul(values.len())))?;
            Ok(Some(values.join(&separator)))
        })?;
        self.distinct(stream.renamed(names))
    }

    /// Fails when so many bytes more would be too many.
    fn affords(&self, bytes: usize) -> Result<(), EvalError> {
        let held = self.q.held();
        let answer = self.q.charge_bytes(bytes);
        self.q.release_to(held);
        answer
    }

    /// Sets a label of each series to what `value` makes of its labels, unless that is `None`.
    fn relabeled(
        &self,
        names: &[Name],
        destination: &str,
        value: impl Fn(&Labels) -> Result<Option<String>, EvalError>,
    ) -> Result<Vec<Name>, EvalError> {
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            self.q.check_cancel()?;
            let mut name = name.clone();
            if let Some(value) = value(&name.labels)? {
                let mut b = name.labels.to_builder();
                b.set(destination, value);
                name.labels = b.build();
                self.q.charge_bytes(name.labels.heap_bytes())?;
                if destination == METRIC_NAME {
                    name.drop_name = false;
                }
            }
            out.push(name);
        }
        Ok(out)
    }
}
