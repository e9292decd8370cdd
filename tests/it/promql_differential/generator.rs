//! Expressions of the language 2.42 and 3.x share.

use super::data::Span;

/// A small deterministic source of choices. Source of the mixing: splitmix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Whether both sides must compute the very same bits.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    Exact,
    Close,
}

/// Deepest nesting of what is generated.
const DEPTH: u32 = 4;

pub(super) struct Generator<'a> {
    random: &'a mut Random,
    span: Span,
    /// Subqueries around what is being generated.
    inside: u32,
}

impl<'a> Generator<'a> {
    pub(super) fn new(random: &'a mut Random, span: Span) -> Generator<'a> {
        Generator {
            random,
            span,
            inside: 0,
        }
    }

    pub(super) fn expression(&mut self) -> String {
        if self.random.one_in(15) {
            return self.scalar(DEPTH, Need::Close);
        }
        self.vector(DEPTH, Need::Close)
    }

    fn pick(&mut self, from: &[&str]) -> String {
        (*self.random.pick(from)).to_owned()
    }

    fn vector(&mut self, depth: u32, need: Need) -> String {
        if depth == 0 || self.random.one_in(6) {
            return self.selector();
        }
        let next = depth - 1;
        match self.random.below(if need == Need::Exact { 9 } else { 14 }) {
            0 => self.exact_function(next),
            1 => self.exact_over_time(next),
            2 => self.aggregation(next, need),
            3 => self.comparison(next),
            4 => self.exact_arithmetic(next),
            5 => self.set(next, need),
            6 => self.relabel(next, need),
            7 => self.miscellany(next, need),
            8 => format!("({})", self.vector(next, need)),
            9 => self.close_function(next),
            10 => self.close_over_time(next),
            11 => self.close_aggregation(next),
            12 => self.close_arithmetic(next),
            _ => self.quantile_of_histogram(next),
        }
    }

    fn matchers(&mut self, name: &str) -> String {
        let of: &[&str] = match name {
            "lat_bucket" => &["job=\"a\"", "le!=\"+Inf\"", "job=~\"a|b\"", "le=~\"0.+\""],
            "odd" => &[
                "path=~\".*[a-c].*\"",
                "path=\"quote\\\"d\"",
                "path!~\"\\\\{\\\\}|space here\"",
                "path=~\"ünï.*\"",
                "path=\"back\\\\slash\"",
                "path=~\"\\\\Qa.b*c+\\\\E\"",
            ],
            _ => &[
                "instance=\"1\"",
                "instance!=\"0\"",
                "instance=~\"0|2\"",
                "job=~\"a|c|m\"",
                "job!~\"b.*\"",
                "team=\"\"",
                "job=\"nosuch\"",
                "instance=~\"[12]\",job!=\"b\"",
            ],
        };
        if self.random.one_in(2) {
            return String::new();
        }
        format!("{{{}}}", self.random.pick(of))
    }

    fn selector(&mut self) -> String {
        let bare = self.bare_selector();
        let modifiers = self.modifiers();
        bare + &modifiers
    }

    /// A selector with an offset or an `@`, not both.
    fn timed(&mut self) -> String {
        let bare = self.bare_selector();
        let modifier = self.modifiers();
        let both = modifier.contains("offset") && modifier.contains('@');
        bare + if both { "" } else { &modifier }
    }

    fn bare_selector(&mut self) -> String {
        if self.random.one_in(25) {
            return self.pick(&[
                "{job=\"a\",__name__!=\"lat_bucket\"}",
                "{__name__=~\"gauge|steady\"}",
                "nosuch",
            ]);
        }
        let name = self.pick(&[
            "gauge",
            "gauge",
            "wild",
            "hits_total",
            "steady",
            "meta",
            "lat_bucket",
            "odd",
        ]);
        let matchers = self.matchers(&name);
        name + &matchers
    }

    /// `offset` and `@`, sometimes.
    fn modifiers(&mut self) -> String {
        let mut out = String::new();
        if self.random.one_in(8) {
            let offset = self.pick(&["1m", "30s", "5m10s", "-1m", "-40s", "20m"]);
            out.push_str(&format!(" offset {offset}"));
        }
        if self.random.one_in(12) {
            let at = self.span.instant(self.random);
            let at = match self.random.below(4) {
                0 => "start()".to_owned(),
                1 => "end()".to_owned(),
                _ => at.to_string(),
            };
            out.push_str(&format!(" @ {at}"));
        }
        out
    }

    fn matrix(&mut self, depth: u32, need: Need) -> String {
        if depth > 0 && self.inside < 2 && self.random.one_in(4) {
            return self.subquery(depth - 1, need);
        }
        let bare = self.bare_selector();
        let range = self.pick(&["20s", "1m", "2m", "5m", "10m", "40s"]);
        format!("{bare}[{range}]{}", self.modifiers())
    }

    /// Steps are at multiples of the step since 1970. Outside, windows end 7 s after a multiple
    /// of 10 s; inside another subquery they would end at one, so they are moved by 3 s.
    fn subquery(&mut self, depth: u32, need: Need) -> String {
        let nested = self.inside > 0;
        self.inside += 1;
        let inner = self.vector(depth, need);
        self.inside -= 1;
        let window = self.pick(&["[2m:30s]", "[5m:1m]", "[3m20s:20s]", "[5m:]", "[1m:10s]"]);
        let inner = if self.random.one_in(2) {
            format!("({inner})")
        } else {
            inner
        };
        // A bare number binds the brackets as little as a sign does.
        let inner = if inner.starts_with(['-', '+']) || !is_primary(&inner) {
            format!("({inner})")
        } else {
            inner
        };
        let modifiers = if nested {
            " offset 3s".to_owned()
        } else {
            self.modifiers()
        };
        format!("{inner}{window}{modifiers}")
    }

    fn scalar(&mut self, depth: u32, need: Need) -> String {
        if depth == 0 || self.random.one_in(2) {
            return self.number();
        }
        match self.random.below(if need == Need::Exact { 3 } else { 5 }) {
            0 => format!("scalar({})", self.vector(depth - 1, need)),
            1 => "time()".to_owned(),
            2 => {
                let (a, b) = (self.scalar(depth - 1, Need::Exact), self.number());
                let op = self.pick(&["==", "!=", "<", ">=", ">", "<="]);
                format!("({a} {op} bool {b})")
            }
            3 => "pi()".to_owned(),
            _ => {
                let (a, b) = (
                    self.scalar(depth - 1, Need::Close),
                    self.scalar(depth - 1, Need::Close),
                );
                let op = self.pick(&["+", "-", "*", "/"]);
                format!("({a} {op} {b})")
            }
        }
    }

    fn number(&mut self) -> String {
        self.pick(&[
            "0", "1", "2", "-3", "0.25", "10", "-0.5", "1e2", "0x10", "NaN", "Inf", "-Inf", "7.75",
        ])
    }

    fn exact_function(&mut self, depth: u32) -> String {
        let v = self.vector(depth, Need::Exact);
        match self.random.below(8) {
            0 => {
                let (low, high) = (self.number(), self.number());
                format!("clamp({v}, {low}, {high})")
            }
            1 => format!("clamp_max({v}, {})", self.number()),
            2 => format!("clamp_min({v}, {})", self.scalar(depth, Need::Exact)),
            3 => {
                let to = self.pick(&["", ", 0.5", ", 2", ", 10"]);
                format!("round({v}{to})")
            }
            4 => format!("-({v})"),
            _ => {
                let f = self.pick(&["abs", "ceil", "floor", "sgn", "sort", "sort_desc"]);
                format!("{f}({v})")
            }
        }
    }

    fn close_function(&mut self, depth: u32) -> String {
        match self.random.below(4) {
            0 => {
                // Only of exact values: large arguments would lose the last bits.
                let f = self.pick(&["sin", "cos", "tan", "exp", "sinh", "acosh", "cosh"]);
                format!("{f}({})", self.vector(depth, Need::Exact))
            }
            1 => {
                let f = self.pick(&["asin", "acos", "atanh"]);
                format!("{f}(clamp({}, -1, 1))", self.vector(depth, Need::Exact))
            }
            _ => {
                let f = self.pick(&[
                    "sqrt", "ln", "log2", "log10", "deg", "rad", "atan", "asinh", "tanh",
                ]);
                format!("{f}({})", self.vector(depth, Need::Exact))
            }
        }
    }

    fn exact_over_time(&mut self, depth: u32) -> String {
        let f = self.pick(&[
            "min_over_time",
            "max_over_time",
            "last_over_time",
            "count_over_time",
            "present_over_time",
            "sum_over_time",
            "changes",
            "resets",
            "idelta",
        ]);
        format!("{f}({})", self.matrix(depth, Need::Exact))
    }

    fn close_over_time(&mut self, depth: u32) -> String {
        let f = self.pick(&[
            "avg_over_time",
            "deriv",
            "delta",
            "rate",
            "irate",
            "increase",
            "quantile_over_time",
            "predict_linear",
            "stddev_over_time",
            "stdvar_over_time",
        ]);
        match f.as_str() {
            // Counters, so that none begins near zero.
            "rate" | "increase" | "irate" => {
                let name = self.pick(&["hits_total", "lat_bucket"]);
                let matchers = self.matchers(&name);
                let range = self.pick(&["1m", "2m", "5m", "10m"]);
                format!("{f}({name}{matchers}[{range}]{})", self.modifiers())
            }
            "quantile_over_time" => {
                let q = self.quantile();
                format!("{f}({q}, {})", self.matrix(depth, Need::Exact))
            }
            "predict_linear" => {
                let ahead = self.pick(&["60", "-30", "0", "3600"]);
                let (of, offset) = (self.bare_selector(), self.pick(&["", " offset 50s"]));
                format!("{f}({of}[3m]{offset}, {ahead})")
            }
            "stddev_over_time" | "stdvar_over_time" => {
                let (of, range) = (self.finite(), self.pick(&["1m", "5m"]));
                format!("{f}({of}[{range}])")
            }
            _ => format!("{f}({})", self.matrix(depth, Need::Exact)),
        }
    }

    /// A selector of series without NaN and infinities.
    fn finite(&mut self) -> String {
        let name = self.pick(&["gauge", "steady", "hits_total", "odd"]);
        let matchers = self.matchers(&name);
        name + &matchers
    }

    fn quantile(&mut self) -> String {
        self.pick(&["0", "0.25", "0.5", "0.9", "0.99", "1", "-1", "2", "NaN"])
    }

    fn grouping(&mut self) -> String {
        self.pick(&[
            "",
            "",
            " by (job)",
            " by (instance)",
            " without (instance)",
            " by (job, instance)",
            " without (job, le)",
            " by ()",
            " without ()",
            " by (nosuch, team)",
            " by (__name__)",
        ])
    }

    fn aggregation(&mut self, depth: u32, need: Need) -> String {
        let by = self.grouping();
        match self.random.below(8) {
            0 => {
                let label = self.pick(&["value", "job", "v_1"]);
                format!(
                    "count_values{by} (\"{label}\", {})",
                    self.vector(depth, Need::Exact)
                )
            }
            1 => {
                let f = self.pick(&["topk", "bottomk"]);
                let k = self.pick(&["1", "2", "3", "0", "-1", "10"]);
                format!("{f}{by} ({k}, steady{})", self.modifiers())
            }
            _ => {
                let f = self.pick(&["sum", "min", "max", "count", "group"]);
                format!("{f}{by} ({})", self.vector(depth, need))
            }
        }
    }

    fn close_aggregation(&mut self, depth: u32) -> String {
        let by = self.grouping();
        match self.random.below(3) {
            0 => {
                let q = self.quantile();
                format!("quantile{by} ({q}, {})", self.vector(depth, Need::Exact))
            }
            1 => format!("avg{by} ({})", self.vector(depth, Need::Exact)),
            _ => {
                let f = self.pick(&["stddev", "stdvar"]);
                format!("{f}{by} ({})", self.finite())
            }
        }
    }

    fn matching(&mut self, grouping: bool) -> String {
        let on = self.pick(&[
            "",
            "",
            " on (instance)",
            " on (job, instance)",
            " ignoring (job)",
            " ignoring (team)",
        ]);
        if !grouping || on.is_empty() || !self.random.one_in(3) {
            return on;
        }
        let side = self.pick(&[
            " group_left",
            " group_right",
            " group_left (team)",
            " group_right (job)",
        ]);
        if on.contains("job") && side.contains("job") {
            return on;
        }
        on + &side
    }

    fn comparison(&mut self, depth: u32) -> String {
        let op = self.pick(&["==", "!=", "<", ">", "<=", ">="]);
        let yes = self.pick(&["", " bool"]);
        let v = self.vector(depth, Need::Exact);
        match self.random.below(3) {
            0 => format!("({v}) {op}{yes} {}", self.scalar(depth, Need::Exact)),
            1 => format!("{} {op}{yes} ({v})", self.scalar(depth, Need::Exact)),
            _ => {
                let matching = self.matching(true);
                let w = self.vector(depth, Need::Exact);
                format!("({v}) {op}{yes}{matching} ({w})")
            }
        }
    }

    fn exact_arithmetic(&mut self, depth: u32) -> String {
        let v = self.vector(depth, Need::Exact);
        match self.random.below(5) {
            0 => format!("({v}) % {}", self.number()),
            1 => format!("({v}) * {}", self.pick(&["2", "-1", "0.5", "0"])),
            2 => format!("{} - ({v})", self.number()),
            3 => format!("({v}) + {}", self.number()),
            _ => {
                let matching = self.matching(true);
                let op = self.pick(&["+", "-"]);
                let w = self.vector(depth, Need::Exact);
                format!("({v}) {op}{matching} ({w})")
            }
        }
    }

    fn close_arithmetic(&mut self, depth: u32) -> String {
        let v = self.vector(depth, Need::Exact);
        match self.random.below(5) {
            0 => format!("({v}) / {}", self.scalar(depth, Need::Exact)),
            1 => format!("({v}) ^ {}", self.pick(&["2", "-1", "0.5", "0", "3"])),
            2 => format!("{} ^ ({v})", self.pick(&["2", "0.5", "0", "1"])),
            _ => {
                let matching = self.matching(true);
                let op = self.pick(&["*", "/", "atan2", "-", "+", "^"]);
                let w = self.vector(depth, Need::Exact);
                let nothing = if op == "atan2" { "0 + " } else { "" };
                format!("({nothing}({v})) {op}{matching} ({nothing}({w}))")
            }
        }
    }

    fn set(&mut self, depth: u32, need: Need) -> String {
        let op = self.pick(&["and", "or", "unless"]);
        let matching = self.matching(false);
        let (a, b) = (self.vector(depth, need), self.vector(depth, need));
        format!("({a}) {op}{matching} ({b})")
    }

    fn relabel(&mut self, depth: u32, need: Need) -> String {
        let v = self.vector(depth, need);
        let how = self.pick(&[
            "label_replace(V, \"dst\", \"$1-x\", \"instance\", \"(.*)\")",
            "label_replace(V, \"job\", \"$1\", \"instance\", \"([01])\")",
            "label_replace(V, \"dst\", \"${n}.$$.$2\", \"path\", \"(?P<n>[a-z]+)(.?).*\")",
            "label_replace(V, \"instance\", \"\", \"instance\", \"\")",
            "label_replace(V, \"x\", \"none\", \"nosuch\", \"\")",
            "label_replace(V, \"__name__\", \"renamed\", \"job\", \".+\")",
            "label_join(V, \"dst\", \"-\", \"job\", \"instance\")",
            "label_join(V, \"job\", \"\", \"nosuch\")",
            "label_join(V, \"dst\", \"/\", \"job\", \"nosuch\", \"path\")",
        ]);
        how.replace('V', &v)
    }

    fn miscellany(&mut self, depth: u32, need: Need) -> String {
        match self.random.below(6) {
            0 => format!("vector({})", self.scalar(depth, need)),
            1 => format!("absent({})", self.vector(depth, need)),
            2 => {
                let selector = self.pick(&[
                    "nosuch{a=\"b\",c!=\"d\"}",
                    "nosuch{a=\"b\",a=\"c\"}",
                    "steady{instance=\"3\"}",
                    "odd{path=~\"z\"}",
                ]);
                let range = self.pick(&["20s", "1m", "5m"]);
                format!("absent_over_time({selector}[{range}]{})", self.modifiers())
            }
            3 => {
                let f = self.pick(&[
                    "minute",
                    "hour",
                    "day_of_week",
                    "day_of_month",
                    "day_of_year",
                    "days_in_month",
                    "month",
                    "year",
                ]);
                let argument = match self.random.below(3) {
                    0 => String::new(),
                    1 => format!("timestamp({})", self.timed()),
                    _ => "1e6 * steady".to_owned(),
                };
                format!("{f}({argument})")
            }
            4 => format!("timestamp({})", self.timed()),
            _ => format!("timestamp(0 + {})", self.selector()),
        }
    }

    fn quantile_of_histogram(&mut self, _depth: u32) -> String {
        let q = self.quantile();
        let range = self.pick(&["1m", "2m", "5m"]);
        let modifiers = self.modifiers();
        let rated = format!("rate(lat_bucket[{range}]{modifiers})");
        match self.random.below(4) {
            0 => format!("histogram_quantile({q}, lat_bucket{modifiers})"),
            1 => format!("histogram_quantile({q}, {rated})"),
            2 => format!("histogram_quantile({q}, sum by (le) ({rated}))"),
            _ => format!("histogram_quantile({q}, sum by (job, le) ({rated}))"),
        }
    }
}

/// Whether brackets after `text` belong to all of it: a selector or call, nothing around it.
fn is_primary(text: &str) -> bool {
    let mut depth = 0_i32;
    let mut quoted = false;
    let mut escaped = false;
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            ' ' if depth == 0 => return false,
            _ => {}
        }
    }
    true
}
