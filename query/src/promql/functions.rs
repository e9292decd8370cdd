//! The function table: names and types of all functions.

use super::ast::ValueType;

/// How many arguments a function takes beyond the fixed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// Exactly `args.len()`.
    No,
    /// The last of `args` may be left out, or repeated up to so many times in all.
    UpTo(usize),
    /// The last of `args` may be left out or repeated at will.
    Any,
}

impl Variadic {
    /// The number of the HTTP API: 0, how many, or -1 for any.
    #[must_use]
    pub fn api(self) -> i64 {
        match self {
            No => 0,
            UpTo(most) => most as i64,
            Any => -1,
        }
    }
}

/// A function's name and types.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// As written.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [ValueType],
    /// Whether the last argument is optional or repeated.
    pub variadic: Variadic,
    /// The type of its value.
    pub returns: ValueType,
    /// Whether Prometheus hides it behind a flag.
    pub experimental: bool,
}

/// The function of this name; names are case-sensitive.
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS
        .binary_search_by(|f| f.name.cmp(name))
        .ok()
        .map(|i| &FUNCTIONS[i])
}

use ValueType::{Matrix as M, Scalar as S, String as T, Vector as V};
use Variadic::{Any, No, UpTo};

const fn f(
    name: &'static str,
    args: &'static [ValueType],
    variadic: Variadic,
    returns: ValueType,
) -> Function {
    Function {
        name,
        args,
        variadic,
        returns,
        experimental: false,
    }
}

const fn e(
    name: &'static str,
    args: &'static [ValueType],
    variadic: Variadic,
    returns: ValueType,
) -> Function {
    Function {
        name,
        args,
        variadic,
        returns,
        experimental: true,
    }
}

/// All functions, sorted by name. Source: prometheus promql/parser/functions.go.
pub static FUNCTIONS: &[Function] = &[
    f("abs", &[V], No, V),
    f("absent", &[V], No, V),
    f("absent_over_time", &[M], No, V),
    f("acos", &[V], No, V),
    f("acosh", &[V], No, V),
    f("asin", &[V], No, V),
    f("asinh", &[V], No, V),
    f("atan", &[V], No, V),
    f("atanh", &[V], No, V),
    f("avg_over_time", &[M], No, V),
    f("ceil", &[V], No, V),
    f("changes", &[M], No, V),
    f("clamp", &[V, S, S], No, V),
    f("clamp_max", &[V, S], No, V),
    f("clamp_min", &[V, S], No, V),
    f("cos", &[V], No, V),
    f("cosh", &[V], No, V),
    f("count_over_time", &[M], No, V),
    f("day_of_month", &[V], UpTo(1), V),
    f("day_of_week", &[V], UpTo(1), V),
    f("day_of_year", &[V], UpTo(1), V),
    f("days_in_month", &[V], UpTo(1), V),
    f("deg", &[V], No, V),
    f("delta", &[M], No, V),
    f("deriv", &[M], No, V),
    e("double_exponential_smoothing", &[M, S, S], No, V),
    e("end", &[], No, S),
    f("exp", &[V], No, V),
    f("first_over_time", &[M], No, V),
    f("floor", &[V], No, V),
    f("histogram_avg", &[V], No, V),
    f("histogram_count", &[V], No, V),
    f("histogram_fraction", &[S, S, V], No, V),
    f("histogram_quantile", &[S, V], No, V),
    e("histogram_quantiles", &[V, T, S, S], UpTo(9), V),
    f("histogram_stddev", &[V], No, V),
    f("histogram_stdvar", &[V], No, V),
    f("histogram_sum", &[V], No, V),
    f("hour", &[V], UpTo(1), V),
    f("idelta", &[M], No, V),
    f("increase", &[M], No, V),
    e("info", &[V, V], UpTo(1), V),
    f("irate", &[M], No, V),
    f("label_join", &[V, T, T, T], Any, V),
    f("label_replace", &[V, T, T, T, T], No, V),
    f("last_over_time", &[M], No, V),
    f("ln", &[V], No, V),
    f("log10", &[V], No, V),
    f("log2", &[V], No, V),
    e("mad_over_time", &[M], No, V),
    e("max_of", &[S, S], No, S),
    f("max_over_time", &[M], No, V),
    e("min_of", &[S, S], No, S),
    f("min_over_time", &[M], No, V),
    f("minute", &[V], UpTo(1), V),
    f("month", &[V], UpTo(1), V),
    f("pi", &[], No, S),
    f("predict_linear", &[M, S], No, V),
    f("present_over_time", &[M], No, V),
    f("quantile_over_time", &[S, M], No, V),
    f("rad", &[V], No, V),
    e("range", &[], No, S),
    f("rate", &[M], No, V),
    f("resets", &[M], No, V),
    f("round", &[V, S], UpTo(1), V),
    f("scalar", &[V], No, S),
    f("sgn", &[V], No, V),
    f("sin", &[V], No, V),
    f("sinh", &[V], No, V),
    f("sort", &[V], No, V),
    e("sort_by_label", &[V, T], Any, V),
    e("sort_by_label_desc", &[V, T], Any, V),
    f("sort_desc", &[V], No, V),
    f("sqrt", &[V], No, V),
    e("start", &[], No, S),
    e("start_timestamp", &[V], No, V),
    f("stddev_over_time", &[M], No, V),
    f("stdvar_over_time", &[M], No, V),
    e("step", &[], No, S),
    f("sum_over_time", &[M], No, V),
    f("tan", &[V], No, V),
    f("tanh", &[V], No, V),
    f("time", &[], No, S),
    f("timestamp", &[V], No, V),
    e("ts_of_first_over_time", &[M], No, V),
    e("ts_of_last_over_time", &[M], No, V),
    e("ts_of_max_over_time", &[M], No, V),
    e("ts_of_min_over_time", &[M], No, V),
    f("vector", &[S], No, V),
    f("year", &[V], UpTo(1), V),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_holds_ninety_functions() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(FUNCTIONS.len(), 90);
        assert_eq!(FUNCTIONS.iter().filter(|f| f.experimental).count(), 17);
    }
}
