//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, on classic buckets
//! (series with `le`) and native histograms alike.

use model::{HPoint, Labels, number};

use super::native;
use crate::eval::annotations::{self, ForcedMonotonicity};
use crate::eval::evaluator::{Evaluator, Val};
use crate::eval::series::{FastMap, Point, Points, Series};
use crate::eval::{EvalError, PointValue};
use crate::promql::ast::{Call, Expr};
use crate::promql::parser::parse_number;

/// Buckets gone through between two looks at whether anybody still waits.
const BUCKETS_BETWEEN_CHECKS: usize = 1 << 18;

/// One classic bucket: how many observations up to `upper`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cumulative {
    upper: f64,
    count: f64,
}

/// What to ask each histogram; more than one only for `histogram_quantiles`.
enum Question {
    /// The quantile per step, and the value of the label that tells it from the others.
    Quantile(Vec<f64>, Option<(String, Vec<String>)>),
    /// Lower and upper bound per step.
    Fraction(Vec<f64>, Vec<f64>),
}

#[derive(Default)]
struct Histograms {
    labels: Labels,
    drop_name: bool,
    /// Upper bound and input series.
    buckets: Vec<(f64, usize)>,
    /// Input series with native histograms.
    natives: Vec<usize>,
}

impl Evaluator<'_> {
    pub(super) fn histogram_shares(&self, c: &Call) -> Result<Val, EvalError> {
        let (arg, questions) = self.questions(c)?;
        let input = self.vector(arg)?;
        let groups = self.histogram_groups(arg, &input);
        let mut out = Vec::new();
        for group in &groups {
            self.q.check_cancel()?;
            for question in &questions {
                self.ask(arg, question, group, &input, &mut out)?;
            }
        }
        for s in &mut out {
            self.drop_name(s);
        }
        Ok(Val::Vector(self.joined(out)?))
    }

    fn questions<'c>(&self, c: &'c Call) -> Result<(&'c Expr, Vec<Question>), EvalError> {
        match c.function.name {
            "histogram_fraction" => {
                let (lower, upper) = (self.scalar(&c.args[0])?, self.scalar(&c.args[1])?);
                Ok((&c.args[2], vec![Question::Fraction(lower, upper)]))
            }
            "histogram_quantile" => {
                let quantile = self.quantiles(&c.args[0])?;
                Ok((&c.args[1], vec![Question::Quantile(quantile, None)]))
            }
            _ => {
                let label = self.string(&c.args[1])?;
                if label.is_empty() {
                    return Err(EvalError::Failed(
                        "invalid label name in histogram_quantiles(): \"\"".to_owned(),
                    ));
                }
                let mut questions = Vec::new();
                for arg in &c.args[2..] {
                    let quantile = self.quantiles(arg)?;
                    let values = quantile.iter().map(|q| label_number(*q)).collect();
                    let tag = Some((label.clone(), values));
                    questions.push(Question::Quantile(quantile, tag));
                }
                Ok((&c.args[0], questions))
            }
        }
    }

    fn quantiles(&self, arg: &Expr) -> Result<Vec<f64>, EvalError> {
        let quantiles = self.scalar(arg)?;
        for q in &quantiles {
            if q.is_nan() || *q < 0.0 || *q > 1.0 {
                self.q.note(annotations::invalid_quantile(*q), arg);
            }
        }
        Ok(quantiles)
    }

    fn histogram_groups(&self, arg: &Expr, input: &[Series]) -> Vec<Histograms> {
        let mut places: FastMap<Labels, usize> = FastMap::default();
        let mut groups: Vec<Histograms> = Vec::new();
        for (i, s) in input.iter().enumerate() {
            let le = s.labels.get("le");
            let bound = le.and_then(parse_bound);
            if bound.is_none() && !s.floats.is_empty() {
                self.q.note(
                    annotations::bad_bucket_label(s.labels.metric_name(), le.unwrap_or("")),
                    arg,
                );
            }
            let mut place = |groups: &mut Vec<Histograms>, labels: Labels| {
                let next = groups.len();
                let at = *places.entry(labels.clone()).or_insert(next);
                if at == next {
                    groups.push(Histograms {
                        labels,
                        drop_name: s.drop_name,
                        ..Histograms::default()
                    });
                }
                at
            };
            if let (Some(bound), false) = (bound, s.floats.is_empty()) {
                let at = place(&mut groups, s.labels.without("le"));
                groups[at].buckets.push((bound, i));
            }
            if !s.histograms.is_empty() {
                let at = place(&mut groups, s.labels.clone());
                groups[at].natives.push(i);
            }
        }
        groups
    }

    fn ask(
        &self,
        arg: &Expr,
        question: &Question,
        group: &Histograms,
        input: &[Series],
        out: &mut Vec<Series>,
    ) -> Result<(), EvalError> {
        let name = group.labels.metric_name();
        // Upstream drops the name before it answers.
        let known = if self.q.options.delayed_name_removal {
            name
        } else {
            ""
        };
        let mut buckets: Vec<(f64, Points<'_>)> = group
            .buckets
            .iter()
            .map(|(upper, i)| (*upper, Series::points_of(&input[*i].floats, &[])))
            .collect();
        let mut natives: Vec<&[HPoint]> = group
            .natives
            .iter()
            .map(|i| input[*i].histograms.as_slice())
            .collect();
        let mut answers: Vec<(Labels, Series)> = Vec::new();
        let mut found: Vec<Cumulative> = Vec::new();
        let mut unchecked = 0;
        for t in self.times() {
            unchecked += 1 + buckets.len() + natives.len();
            if unchecked > BUCKETS_BETWEEN_CHECKS {
                self.q.check_cancel()?;
                unchecked = 0;
            }
            found.clear();
            for (upper, points) in &mut buckets {
                if let Some(Point::Float(count)) = points.at(t) {
                    found.push(Cumulative {
                        upper: *upper,
                        count,
                    });
                }
            }
            let native = natives.iter_mut().find_map(|points| {
                let (first, rest) = points.split_first()?;
                (first.t == t).then(|| {
                    *points = rest;
                    &first.h
                })
            });
            let answer = match (native, found.is_empty()) {
                (None, true) => continue,
                (Some(_), false) => {
                    self.q.note(annotations::mixed_classic_native(name), arg);
                    continue;
                }
                (Some(h), true) => {
                    let note = |text: String| self.q.note(text, arg);
                    match question {
                        Question::Quantile(q, _) => {
                            native::quantile(self.at(q, t), h, known, &note)
                        }
                        Question::Fraction(l, u) => {
                            native::fraction(self.at(l, t), self.at(u, t), h, known, &note)
                        }
                    }
                }
                (None, false) => match question {
                    Question::Quantile(q, _) => {
                        let (answer, raised) = bucket_quantile(self.at(q, t), &mut found);
                        if let Some((bucket_min, bucket_max, raise_max)) = raised {
                            let forced = ForcedMonotonicity {
                                position: arg.position(),
                                bucket_min,
                                bucket_max,
                                raise_max,
                                first: t,
                                last: t,
                                count: 1,
                            };
                            self.q.note_forced(known, forced);
                        }
                        answer
                    }
                    Question::Fraction(l, u) => {
                        bucket_fraction(self.at(l, t), self.at(u, t), &mut found)
                    }
                },
            };
            let labels = match question {
                Question::Quantile(_, Some((label, values))) => {
                    let mut b = group.labels.to_builder();
                    b.set(label.as_str(), values[self.index(t)].as_str());
                    b.build()
                }
                _ => group.labels.clone(),
            };
            let at = answers.iter().position(|(l, _)| *l == labels);
            let at = at.unwrap_or_else(|| {
                let series = Series::new(labels.clone(), group.drop_name);
                answers.push((labels, series));
                answers.len() - 1
            });
            answers[at].1.push(t, PointValue::Float(answer));
        }
        for (_, series) in answers {
            self.q.charge(series.samples())?;
            out.push(series);
        }
        Ok(())
    }
}

/// A number as OpenMetrics writes it in labels: `1.0` for 1.
fn label_number(v: f64) -> String {
    let text = number::format_sprint(v);
    if text.contains(['.', 'e', 'N', 'I']) {
        text
    } else {
        text + ".0"
    }
}

/// The bound in an `le` label.
fn parse_bound(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") {
        return Some(sign * f64::INFINITY);
    }
    if digits.starts_with("0x") {
        return parse_number(digits).map(|v| sign * v);
    }
    let plain = digits.bytes().next()?;
    (plain.is_ascii_digit() || plain == b'.' || digits.eq_ignore_ascii_case("nan"))
        .then(|| digits.parse::<f64>().ok())
        .flatten()
        .map(|v| sign * v)
}

/// Sorts, sums buckets of equal bounds; `None` without a `+Inf` bucket.
fn prepare(buckets: &mut Vec<Cumulative>) -> Option<()> {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets.last()?.upper != f64::INFINITY {
        return None;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    Some(())
}

/// Relative difference below which a falling count is taken for a rounding error.
const SMALL_DELTA: f64 = 1e-12;

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < SMALL_DELTA
}

/// Raises counts that fall; tells lowest and highest bucket raised, and the largest raise.
fn make_monotonic(buckets: &mut [Cumulative]) -> Option<(f64, f64, f64)> {
    let mut raised: Option<(f64, f64, f64)> = None;
    let mut highest = buckets.first()?.count;
    for b in buckets.iter_mut().skip(1) {
        if almost_equal(highest, b.count) {
            b.count = highest;
        } else if b.count < highest {
            let raise = highest - b.count;
            let (min, _, max_raise) = raised.unwrap_or((b.upper, b.upper, 0.0));
            raised = Some((min, b.upper, raise.max(max_raise)));
            b.count = highest;
        } else {
            highest = b.count;
        }
    }
    raised
}

/// Source: prometheus promql/quantile.go, BucketQuantile.
fn bucket_quantile(q: f64, buckets: &mut Vec<Cumulative>) -> (f64, Option<(f64, f64, f64)>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if prepare(buckets).is_none() {
        return (f64::NAN, None);
    }
    let raised = make_monotonic(buckets);
    (monotonic_quantile(q, buckets), raised)
}

fn monotonic_quantile(q: f64, buckets: &[Cumulative]) -> f64 {
    let [.., before_last, last] = buckets else {
        return f64::NAN;
    };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * last.count;
    let b = buckets[..buckets.len() - 1].partition_point(|b| b.count < rank || b.count.is_nan());
    if b == buckets.len() - 1 {
        return before_last.upper;
    }
    if b == 0 && buckets[0].upper <= 0.0 {
        return buckets[0].upper;
    }
    let (mut start, end, mut count) = (0.0, buckets[b].upper, buckets[b].count);
    if b > 0 {
        start = buckets[b - 1].upper;
        count -= buckets[b - 1].count;
        rank -= buckets[b - 1].count;
    }
    start + (end - start) * (rank / count)
}

/// Source: prometheus promql/quantile.go, BucketFraction.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Cumulative>) -> f64 {
    if prepare(buckets).is_none() {
        return f64::NAN;
    }
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |v: f64| {
        let mut rank = 0.0;
        for (i, b) in buckets.iter().enumerate() {
            let start = match i.checked_sub(1) {
                Some(i) => buckets[i].upper,
                None if b.upper > 0.0 => 0.0,
                None => f64::NEG_INFINITY,
            };
            if start >= v {
                return rank;
            }
            if b.upper > v {
                if start == f64::NEG_INFINITY {
                    return b.count;
                }
                if b.upper == f64::INFINITY {
                    return rank;
                }
                return rank + (b.count - rank) * (v - start) / (b.upper - start);
            }
            rank = b.count;
        }
        total
    };
    (rank_of(upper).min(total) - rank_of(lower).min(total)) / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_and_falling_counts_are_raised() {
        let mut b = vec![
            Cumulative {
                upper: 1.0,
                count: 10.0,
            },
            Cumulative {
                upper: 2.0,
                count: 5.0,
            },
            Cumulative {
                upper: f64::INFINITY,
                count: 20.0,
            },
        ];
        let (v, raised) = bucket_quantile(0.25, &mut b);
        assert_eq!(v, 0.5);
        assert_eq!(raised, Some((2.0, 2.0, 5.0)));
        assert_eq!(parse_bound("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse_bound("Hello"), None);
    }
}
