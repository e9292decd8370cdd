//! Named functions that templates may call.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::Value;

/// A function: arguments in, value or message out. It may borrow what it queries.
pub type Function<'a> = Arc<dyn Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'a>;

/// A table of functions.
#[derive(Clone, Default)]
pub struct Functions<'a> {
    table: HashMap<Cow<'static, str>, Function<'a>>,
}

impl<'a> Functions<'a> {
    /// What every Go template can call: comparison, `printf`, `len`, `index`, escaping.
    /// (`and`, `or` and `not` are there too; the first two stop early.)
    #[must_use]
    pub fn go_builtins() -> Functions<'a> {
        crate::builtins::functions()
    }

    /// Adds or replaces a function.
    pub fn insert(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        function: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'a,
    ) {
        self.table.insert(name.into(), Arc::new(function));
    }

    /// Adds or replaces a function.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        function: impl Fn(&[Value]) -> Result<Value, String> + Send + Sync + 'a,
    ) -> Functions<'a> {
        self.insert(name, function);
        self
    }

    /// The function called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Function<'a>> {
        self.table.get(name)
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(AsRef::as_ref)
    }
}

/// Refuses a call with the wrong number of arguments, in Go's words.
pub(crate) fn arity(name: &str, args: &[Value], want: usize) -> Result<(), String> {
    if args.len() == want {
        return Ok(());
    }
    Err(format!(
        "wrong number of args for {name}: want {want} got {}",
        args.len()
    ))
}

/// The argument at `i` as a string.
pub(crate) fn text(args: &[Value], i: usize) -> Result<&str, String> {
    let value = args.get(i).unwrap_or(&Value::Nil);
    value.as_str().ok_or_else(|| {
        format!(
            "wrong type for value; expected string; got {}",
            value.type_name()
        )
    })
}
