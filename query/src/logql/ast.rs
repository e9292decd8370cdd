//! Expressions as they were written.

use model::Matcher;

pub use crate::promql::ast::Span;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Selects lines.
    Log(LogExpr),
    /// Computes numbers.
    Metric(MetricExpr),
}

/// A stream selector and what its lines go through.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    /// All must hold on a stream's labels.
    pub matchers: Vec<Matcher>,
    /// Applied in order.
    pub stages: Vec<Stage>,
    /// The whole.
    pub span: Span,
}

/// A stage of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Line filters that follow one another directly.
    LineFilters(Vec<LineFilter>),
    /// `| logfmt`
    Logfmt(LogfmtFlags),
    /// `| json`
    Json,
    /// `| regexp "…"`
    Regexp(String),
    /// `| pattern "…"`
    Pattern(String),
    /// `| unpack`
    Unpack,
    /// `| json a="x.y"`
    JsonExpressions(Vec<Extraction>),
    /// `| logfmt a="x"`
    LogfmtExpressions(Vec<Extraction>, LogfmtFlags),
    /// `| a="b" or c > 5`
    LabelFilter(LabelFilter),
    /// `| line_format "…"`
    LineFormat(String),
    /// `| decolorize`
    Decolorize,
    /// `| label_format a=b, c="…"`
    LabelFormat(Vec<LabelFormat>),
    /// `| drop a, b="x"`
    Drop(Vec<NamedMatcher>),
    /// `| keep a, b="x"`
    Keep(Vec<NamedMatcher>),
}

/// `|= "a" or "b"`. Chains of the negative operators are written out: `!= "a" or "b"` is two filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    /// How the needles are looked for.
    pub op: LineOp,
    /// One must be found; a negative operator has exactly one, which must not.
    pub needles: Vec<Needle>,
}

/// The six operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    ContainsNot,
    /// `|~`
    Regex,
    /// `!~`
    RegexNot,
    /// `|>`
    Pattern,
    /// `!>`
    PatternNot,
}

/// What a line filter looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// The text, expression, pattern or address range.
    pub text: String,
    /// Written as `ip("…")`.
    pub is_ip: bool,
}

/// `--strict --keep-empty`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogfmtFlags {
    /// A malformed line is an error.
    pub strict: bool,
    /// Keys without a value become labels too.
    pub keep_empty: bool,
}

/// `name="expression"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// The label made.
    pub name: String,
    /// Where its value is.
    pub expression: String,
}

/// A condition on labels.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// `name="value"` and the other three.
    String(Matcher),
    /// `name=ip("…")` or `!=`.
    Ip {
        /// The label.
        name: String,
        /// Address, range or prefix.
        pattern: String,
        /// `!=`
        negative: bool,
    },
    /// `name > 5`
    Number(String, CompareOp, f64),
    /// `name > 5s`, in nanoseconds.
    Duration(String, CompareOp, i64),
    /// `name > 5KB`, in bytes.
    Bytes(String, CompareOp, u64),
    /// Both.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// Either.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// Comparison of numbers in a label filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `==` or `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
}

/// `new=old` or `new="template"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFormat {
    /// The label made.
    pub name: String,
    /// Another label's name, or a template.
    pub value: String,
    /// The value is a name.
    pub rename: bool,
}

/// `name` or `name="value"`
#[derive(Clone, Debug, PartialEq)]
pub enum NamedMatcher {
    /// Whatever its value.
    Name(String),
    /// If it matches.
    Matcher(Matcher),
}

/// An expression that has numbers as values.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricExpr {
    /// What it is.
    pub kind: MetricKind,
    /// The whole.
    pub span: Span,
}

/// The kinds of metric expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricKind {
    /// `rate({…}[5m])`
    Range(RangeAggregation),
    /// `sum by (a) (…)`
    Vector(VectorAggregation),
    /// `… + …`
    Binary(Binary),
    /// `1.5`
    Literal(f64),
    /// `label_replace(…)`
    LabelReplace(LabelReplace),
    /// `vector(1)`
    VectorOf(f64),
}

/// A function over a window of lines.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    /// The function.
    pub op: RangeOp,
    /// The quantile.
    pub param: Option<f64>,
    /// The window.
    pub range: LogRange,
    /// `by` or `without`.
    pub grouping: Option<Grouping>,
}

/// A window of lines.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRange {
    /// Which lines.
    pub selector: LogExpr,
    /// Length in nanoseconds.
    pub interval_ns: i64,
    /// How far back, in nanoseconds; negative is forward.
    pub offset_ns: i64,
    /// The label whose value counts.
    pub unwrap: Option<Unwrap>,
}

/// `| unwrap duration(x) | y="z"`
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    /// The label.
    pub label: String,
    /// How its value becomes a number; as it is when `None`.
    pub conversion: Option<Conversion>,
    /// Applied afterwards.
    pub post_filters: Vec<LabelFilter>,
}

/// How an unwrapped label's value becomes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// `bytes(x)`
    Bytes,
    /// `duration(x)`, seconds.
    Duration,
    /// `duration_seconds(x)`, the same.
    DurationSeconds,
}

/// `by (a, b)` or `without (a, b)`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// All labels but these.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

impl Grouping {
    /// Whether everything becomes one series without labels.
    pub(crate) fn is_singleton(&self) -> bool {
        !self.without && self.labels.is_empty()
    }
}

/// An aggregation of series.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAggregation {
    /// The operator.
    pub op: VectorOp,
    /// How many, of those that take a number.
    pub param: usize,
    /// `by ()` when none is written.
    pub grouping: Grouping,
    /// What is aggregated.
    pub expr: Box<MetricExpr>,
}

/// Two expressions and an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Comparisons give 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// Which series go together.
    pub matching: Matching,
    /// Left side.
    pub left: Box<MetricExpr>,
    /// Right side.
    pub right: Box<MetricExpr>,
}

/// Which series of both sides go together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// `group_left`, `group_right` or neither.
    pub card: Cardinality,
    /// The labels are those to compare, not those to leave out.
    pub on: bool,
    /// As written after `on` or `ignoring`; `None` when there is none, or it is empty.
    pub labels: Option<Vec<String>>,
    /// As written after `group_left` or `group_right`; `None` when there is none, or it is empty.
    pub include: Option<Vec<String>>,
}

/// How many series of one side go with one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

/// `label_replace(expr, dst, replacement, src, regex)`
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplace {
    /// What it applies to.
    pub expr: Box<MetricExpr>,
    /// The label set.
    pub dst: String,
    /// Its value, with `$1`.
    pub replacement: String,
    /// The label read.
    pub src: String,
    /// What its value must match as a whole.
    pub regex: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// As written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The one written so, in lower case.
            #[must_use]
            pub fn of(text: &str) -> Option<Self> {
                Some(match text { $($text => $name::$variant,)* _ => return None })
            }
        }
    };
}

words! {
    /// Functions over windows of lines.
    RangeOp {
        Rate = "rate",
        RateCounter = "rate_counter",
        Count = "count_over_time",
        BytesRate = "bytes_rate",
        Bytes = "bytes_over_time",
        Avg = "avg_over_time",
        Sum = "sum_over_time",
        Min = "min_over_time",
        Max = "max_over_time",
        Stdvar = "stdvar_over_time",
        Stddev = "stddev_over_time",
        Quantile = "quantile_over_time",
        First = "first_over_time",
        Last = "last_over_time",
        Absent = "absent_over_time",
    }
}

words! {
    /// Aggregations of series.
    VectorOp {
        Sum = "sum",
        Avg = "avg",
        Max = "max",
        Min = "min",
        Count = "count",
        Stddev = "stddev",
        Stdvar = "stdvar",
        Bottomk = "bottomk",
        Topk = "topk",
        ApproxTopk = "approx_topk",
        Sort = "sort",
        SortDesc = "sort_desc",
    }
}

words! {
    /// Operators between two expressions.
    BinaryOp {
        Or = "or",
        And = "and",
        Unless = "unless",
        Add = "+",
        Sub = "-",
        Mul = "*",
        Div = "/",
        Mod = "%",
        Pow = "^",
        Equal = "==",
        NotEqual = "!=",
        Greater = ">",
        GreaterEqual = ">=",
        Less = "<",
        LessEqual = "<=",
    }
}

impl BinaryOp {
    /// `and`, `or`, `unless`.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::Or | BinaryOp::And | BinaryOp::Unless)
    }

    /// `==` and its like.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(
            self,
            Equal | NotEqual | Greater | GreaterEqual | Less | LessEqual
        )
    }

    /// Higher binds tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => 5,
            BinaryOp::Pow => 6,
            _ => 3,
        }
    }
}

impl LineOp {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LineOp::Contains => "|=",
            LineOp::ContainsNot => "!=",
            LineOp::Regex => "|~",
            LineOp::RegexNot => "!~",
            LineOp::Pattern => "|>",
            LineOp::PatternNot => "!>",
        }
    }

    /// Whether a line that has the needle is dropped.
    #[must_use]
    pub fn is_negative(self) -> bool {
        matches!(
            self,
            LineOp::ContainsNot | LineOp::RegexNot | LineOp::PatternNot
        )
    }
}

impl CompareOp {
    /// As printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CompareOp::Equal => "==",
            CompareOp::NotEqual => "!=",
            CompareOp::Greater => ">",
            CompareOp::GreaterEqual => ">=",
            CompareOp::Less => "<",
            CompareOp::LessEqual => "<=",
        }
    }

    /// Whether `left OP right`.
    pub(crate) fn holds<T: PartialOrd + Copy>(self, left: T, right: T) -> bool {
        match self {
            CompareOp::Equal => left == right,
            CompareOp::NotEqual => left != right,
            CompareOp::Greater => left > right,
            CompareOp::GreaterEqual => left >= right,
            CompareOp::Less => left < right,
            CompareOp::LessEqual => left <= right,
        }
    }
}

impl Conversion {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Conversion::Bytes => "bytes",
            Conversion::Duration => "duration",
            Conversion::DurationSeconds => "duration_seconds",
        }
    }
}

impl MetricExpr {
    /// Visits this and all below, outermost first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a MetricExpr)) {
        visit(self);
        match &self.kind {
            MetricKind::Vector(v) => v.expr.walk(visit),
            MetricKind::LabelReplace(r) => r.expr.walk(visit),
            MetricKind::Binary(b) => {
                b.left.walk(visit);
                b.right.walk(visit);
            }
            MetricKind::Range(_) | MetricKind::Literal(_) | MetricKind::VectorOf(_) => {}
        }
    }
}

impl Expr {
    /// Where it stands.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Expr::Log(e) => e.span,
            Expr::Metric(e) => e.span,
        }
    }

    /// Every selector in it.
    pub fn selectors(&self) -> Vec<&LogExpr> {
        match self {
            Expr::Log(e) => vec![e],
            Expr::Metric(e) => {
                let mut found = Vec::new();
                e.walk(&mut |e| {
                    if let MetricKind::Range(r) = &e.kind {
                        found.push(&r.range.selector);
                    }
                });
                found
            }
        }
    }
}
