//! `/index/stats`, `/index/volume`, `/index/volume_range`: how much there is, told from the index
//! of frames without reading them. Of a frame that lies partly within the time asked for, the same
//! part of its lines and bytes counts, as in Loki.
//! Source of the rules: loki pkg/querier/queryrange/volume.go, pkg/storage/stores/index/seriesvolume.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use model::{
    Direction, Labels, LogPiece, LogReader, LogSelection, MatchOp, Matcher, ReadError, Skim,
    Timestamp,
};
use query::logql::eval::{Series, Stats};

use super::labels::selector;
use super::{Refused, answer, axum_json, query as queries, time};
use crate::api::params::Params;
use crate::api::workshop::Client;
use crate::api::{Api, json};

/// Streams, or labels, in one answer unless the client says how many; Loki's.
const LIMIT_DEFAULT: usize = 100;
/// Streams told apart in one answer: Loki's `volume_max_series`.
pub(super) const SERIES_MAX: usize = 1000;
/// Numbers held for one answer: 8 bytes each.
const POINTS_TOTAL_MAX: usize = 2_000_000;
/// Steps end this long before the next one begins.
const GAP_NS: i64 = 1_000_000;

/// Streams, frames, lines and bytes of a selector. Not wrapped in an envelope, as in Loki.
pub(super) async fn stats(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    let (start_ns, end_ns) = time::range(&params, api.now())?;
    queries::limit(&params, LIMIT_DEFAULT)?;
    queries::direction(&params)?;
    time::step(&params, (start_ns, end_ns))?;
    let matchers = selector(params.get("query").unwrap_or(""))?;
    let parts = api.parts()?;
    let work = move |_| stats_of(&*parts.logs, &matchers, (start_ns, end_ns));
    let timeout = api.config().query.timeout.0;
    let found = api.workshop().run_for(&client, timeout, work).await??;
    Ok(axum_json(format!(
        "{{\"streams\":{},\"chunks\":{},\"bytes\":{},\"entries\":{}}}",
        found.streams, found.chunks, found.bytes as u64, found.entries as u64
    )))
}

#[derive(Debug, Default, PartialEq)]
struct Found {
    streams: usize,
    /// Frames, and streams in memory.
    chunks: u64,
    bytes: f64,
    entries: f64,
}

fn stats_of(
    logs: &dyn LogReader,
    matchers: &[Matcher],
    (start_ns, end_ns): (i64, i64),
) -> Result<Found, ReadError> {
    let mut found = Found::default();
    let mut streams: HashSet<Labels> = HashSet::default();
    let mut last: Option<Labels> = None;
    logs.sizes(
        &selection(matchers, (start_ns, end_ns)),
        &mut |labels, piece| {
            // Lines in memory come one by one, all of a stream together.
            if piece.lines > 1 || last.as_ref() != Some(labels) {
                found.chunks += 1;
            }
            if last.as_ref() != Some(labels) {
                streams.insert(labels.clone());
                last = Some(labels.clone());
            }
            let part = part_within(&piece, start_ns, end_ns);
            found.entries += piece.lines as f64 * part;
            found.bytes += piece.bytes as f64 * part;
        },
    )?;
    found.streams = streams.len();
    Ok(found)
}

fn selection(matchers: &[Matcher], (start_ns, end_ns): (i64, i64)) -> LogSelection<'_> {
    LogSelection {
        matchers,
        start_ns,
        end_ns,
        direction: Direction::Forward,
        skim: Skim::default(),
    }
}

/// How much of a piece lies in `start_ns..end_ns`, if its lines are spread evenly.
fn part_within(piece: &LogPiece, start_ns: i64, end_ns: i64) -> f64 {
    let (min, max) = (piece.min_ns, piece.max_ns.saturating_add(1));
    let inside = max.min(end_ns).saturating_sub(min.max(start_ns)).max(0);
    (inside as f64 / max.saturating_sub(min).max(1) as f64).min(1.0)
}

pub(super) async fn volume(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    let range = time::range(&params, api.now())?;
    time::instant(&params, api.now())?;
    respond(&api, &client, &params, range, None).await
}

pub(super) async fn volume_range(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    let range = time::range(&params, api.now())?;
    let step = time::step(&params, range)?;
    respond(&api, &client, &params, range, Some(step)).await
}

async fn respond(
    api: &Api,
    client: &Client,
    params: &Params,
    range: (i64, i64),
    step: Option<i64>,
) -> Result<Response, Refused> {
    let asked = Asked::from(params, range, step)?;
    let parts = api.parts()?;
    let timeout = api.config().query.timeout.0;
    let work = move |_| asked.answer(&*parts.logs);
    Ok(axum_json(
        api.workshop().run_for(client, timeout, work).await??,
    ))
}

/// Whose volumes are wanted and by what they are told apart.
#[derive(Debug)]
struct Asked {
    matchers: Vec<Matcher>,
    /// Labels told apart; `None` is all of them.
    names: Option<BTreeSet<String>>,
    /// A number for each name of a label instead of each set of labels.
    by_label: bool,
    limit: usize,
    range: (i64, i64),
    /// First nanosecond of each step.
    steps: Vec<i64>,
}

impl Asked {
    fn from(params: &Params, range: (i64, i64), step: Option<i64>) -> Result<Asked, Refused> {
        let limit = match params.get("limit") {
            Some("0") | None => LIMIT_DEFAULT,
            Some(text) => queries::positive(text)?,
        };
        queries::direction(params)?;
        let by_label = match params.get("aggregateBy") {
            None | Some("series") => false,
            Some("labels") => true,
            Some(_) => return Err(Refused::bad("invalid aggregation option")),
        };
        let text = params.get("query").unwrap_or("");
        let is_all = text == "{}";
        let mut matchers = match is_all {
            true => Vec::new(),
            false => selector(text)?,
        };
        let targets: BTreeSet<String> = params
            .get("targetLabels")
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(str::to_owned)
            .collect();
        let names = match (targets.is_empty(), is_all) {
            (true, true) => None,
            (true, false) => Some(matchers.iter().map(|m| m.name().to_owned()).collect()),
            (false, _) => {
                for target in &targets {
                    if !matchers.iter().any(|m| m.name() == target) {
                        let has_it = Matcher::new(target.as_str(), MatchOp::Regex, ".+");
                        matchers.push(has_it.map_err(|e| Refused::bad(e.to_string()))?);
                    }
                }
                Some(targets)
            }
        };
        Ok(Asked {
            matchers,
            names,
            by_label,
            limit,
            range,
            steps: steps(range, step),
        })
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }

    fn answer(&self, logs: &dyn LogReader) -> Result<String, Refused> {
        let volumes = self.volumes(logs)?;
        let mut rows = self.rows(&volumes);
        let is_matrix = rows.iter().any(|row| row.points.len() > 1);
        rows.sort_by(|a, b| {
            let first = |row: &Series| row.points.first().map_or(0.0, |(_, v)| *v);
            first(b)
                .total_cmp(&first(a))
                .then_with(|| a.labels.cmp(&b.labels))
        });
        let mut out = String::from("{\"status\":\"success\",\"data\":{\"resultType\":");
        match is_matrix {
            true => {
                out.push_str("\"matrix\",\"result\":");
                json::array(&mut out, &rows, answer::matrix_row);
            }
            false => {
                out.push_str("\"vector\",\"result\":");
                json::array(&mut out, &rows, |out, row| {
                    for (at, value) in &row.points {
                        answer::vector_row(out, &row.labels, *at, *value);
                    }
                });
            }
        }
        answer::stats(&mut out, &Stats::default(), rows.len(), Duration::ZERO);
        out.push_str("}}");
        Ok(out)
    }

    /// Bytes by labels and step.
    fn volumes(&self, logs: &dyn LogReader) -> Result<HashMap<Labels, Vec<f64>>, Refused> {
        let mut volumes: HashMap<Labels, Vec<f64>> = HashMap::new();
        let mut keys_of: HashMap<Labels, Vec<Labels>> = HashMap::new();
        let mut too_many = false;
        let selection = selection(&self.matchers, self.range);
        logs.sizes(&selection, &mut |labels, piece| {
            if !keys_of.contains_key(labels) {
                keys_of.insert(labels.clone(), self.keys(labels));
            }
            for key in keys_of.get(labels).into_iter().flatten() {
                if !volumes.contains_key(key) {
                    let points = (volumes.len() + 1) * self.steps.len();
                    if volumes.len() >= SERIES_MAX || points > POINTS_TOTAL_MAX {
                        too_many = true;
                        return;
                    }
                    volumes.insert(key.clone(), vec![0.0; self.steps.len()]);
                }
                if let Some(volume) = volumes.get_mut(key) {
                    self.add(volume, &piece);
                }
            }
        })?;
        if too_many {
            let most = SERIES_MAX.min(POINTS_TOTAL_MAX / self.steps.len().max(1));
            return Err(Refused::bad(format!(
                "the query hit the max number of series limit (limit: {most} series)"
            )));
        }
        Ok(volumes)
    }

    /// What a stream counts for.
    fn keys(&self, labels: &Labels) -> Vec<Labels> {
        let wanted = labels.iter().filter(|(name, _)| self.is_wanted(name));
        match self.by_label {
            true => wanted
                .map(|(name, _)| Labels::from_sorted([(name, "")].into_iter()))
                .collect(),
            false => vec![Labels::from_sorted(wanted)],
        }
    }

    fn add(&self, volume: &mut [f64], piece: &LogPiece) {
        let first = self.steps.partition_point(|start| *start <= piece.min_ns);
        let steps = self.steps.iter().enumerate().zip(volume);
        for ((i, start), volume) in steps.skip(first.saturating_sub(1)) {
            if *start > piece.max_ns {
                break;
            }
            *volume += piece.bytes as f64 * part_within(piece, *start, self.end_of(i));
        }
    }

    fn end_of(&self, step: usize) -> i64 {
        self.steps.get(step + 1).copied().unwrap_or(self.range.1)
    }

    /// The largest of each step, at the step's end.
    fn rows(&self, volumes: &HashMap<Labels, Vec<f64>>) -> Vec<Series> {
        let mut rows: Vec<Series> = volumes
            .keys()
            .map(|labels| Series {
                labels: labels.clone(),
                points: Vec::new(),
            })
            .collect();
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        for (step, _) in self.steps.iter().enumerate() {
            let mut largest: Vec<(f64, usize)> = rows
                .iter()
                .enumerate()
                .map(|(i, row)| (volumes[&row.labels][step].floor(), i))
                .filter(|(volume, _)| *volume > 0.0)
                .collect();
            largest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let is_last = step + 1 == self.steps.len();
            let gap = if is_last { 0 } else { GAP_NS };
            let at = (self.end_of(step) - gap).div_euclid(1_000_000);
            for (volume, row) in largest.into_iter().take(self.limit) {
                rows[row].points.push((Timestamp::from_millis(at), volume));
            }
        }
        rows.retain(|row| !row.points.is_empty());
        rows
    }
}

/// Where steps begin: at the start, then at multiples of the step; one for all time without it.
fn steps((start, end): (i64, i64), step: Option<i64>) -> Vec<i64> {
    let mut steps = vec![start];
    if let Some(step) = step {
        let mut next = start.div_euclid(step).saturating_mul(step);
        loop {
            next = next.saturating_add(step);
            if next >= end {
                break;
            }
            steps.push(next);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_aligned_and_the_first_one_is_not() {
        assert_eq!(steps((25, 50), Some(10)), [25, 30, 40]);
        assert_eq!(steps((20, 41), Some(10)), [20, 30, 40]);
        assert_eq!(steps((20, 20), Some(10)), [20]);
        assert_eq!(steps((20, 90), None), [20]);
    }

    #[test]
    fn a_piece_counts_for_the_part_that_lies_inside() {
        let piece = LogPiece {
            min_ns: 10,
            max_ns: 19,
            lines: 5,
            bytes: 100,
        };
        for (start, end, expect) in [(0, 100, 1.0), (10, 15, 0.5), (18, 40, 0.2), (20, 30, 0.0)] {
            assert_eq!(part_within(&piece, start, end), expect, "{start} {end}");
        }
        let line = LogPiece {
            max_ns: 10,
            ..piece
        };
        assert_eq!(part_within(&line, 10, 11), 1.0);
    }
}
