//! Plays a recording as the 15 s data of many hosts.
//!
//! Each host walks through the recording on its own: fifteen recorded seconds a step, from a
//! place of its own, jumping elsewhere at the end and now and then before. Gauges are what was
//! recorded there; counters grow by what they grew in those seconds, with the decimals they
//! were written with. So levels, increments, decimals and their correlation within a host are
//! genuine; what is made up is how one stretch follows another.

use stackwatch_tests::remote_write::{EncodedLabels, WriteRequest};

use super::recording::{Recorded, Recording};

/// What a played step covers, in recorded scrapes (seconds) and in played milliseconds.
const STEP: usize = 15;
pub(crate) const STEP_MS: i64 = 15_000;
/// One step in so many jumps.
const JUMP: u64 = 40;
/// Counters with more decimals are added up as floats.
const DECIMALS_MAX: u32 = 9;

/// All hosts; seeded.
pub(crate) struct Player {
    jobs: Vec<Vec<Track>>,
    scrapes: usize,
    hosts: Vec<Host>,
}

struct Track {
    labels: Vec<(String, String)>,
    values: Vec<f64>,
    /// For counters: how many decimals.
    decimals: Option<u32>,
}

struct Host {
    job: usize,
    labels: Vec<EncodedLabels>,
    /// Where counters stand: in units of their last decimal.
    counters: Vec<i64>,
    at: usize,
    random: u64,
    /// When within 15 s it is scraped.
    phase_ms: i64,
}

fn decimals(values: &[f64]) -> Option<u32> {
    let one = |v: &f64| {
        let text = v.to_string();
        text.split_once('.').map_or(0, |(_, d)| d.len() as u32)
    };
    let most = values.iter().map(one).max().unwrap_or(0);
    let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    (most <= DECIMALS_MAX && largest * 10_f64.powi(most as i32) < 1e17).then_some(most)
}

impl Player {
    /// Hosts until there are at least `series` series; three node exporters to one of each other.
    pub(crate) fn new(recordings: &[Recording], series: usize) -> Player {
        let track = |r: &Recorded| Track {
            labels: r.labels.clone(),
            values: r.values.clone(),
            decimals: r.is_counter.then(|| decimals(&r.values)).flatten(),
        };
        let jobs: Vec<Vec<Track>> = recordings
            .iter()
            .map(|r| r.series.iter().map(track).collect())
            .collect();
        let scrapes = jobs[0][0].values.len();
        let node = recordings.iter().position(|r| r.job == "node").unwrap_or(0);
        let mut player = Player {
            jobs,
            scrapes,
            hosts: Vec::new(),
        };
        let mut count = 0;
        while count < series {
            let number = player.hosts.len();
            let job = match number % 4 {
                3 => number / 4 % recordings.len(),
                _ => node,
            };
            let host = player.host(&recordings[job].job, job, number);
            count += host.labels.len();
            player.hosts.push(host);
        }
        player
    }

    fn host(&self, name: &str, job: usize, number: usize) -> Host {
        let mut random = number as u64 + 1;
        let at = next(&mut random) as usize % (self.scrapes - STEP);
        let tracks = &self.jobs[job];
        let labels = tracks.iter().map(|t| {
            let mut labels = t.labels.clone();
            labels.push(("instance".to_owned(), format!("host{number:05}:9100")));
            labels.push(("job".to_owned(), name.to_owned()));
            labels.sort();
            EncodedLabels::new(&labels)
        });
        let labels = labels.collect();
        let counters = tracks.iter().map(|t| {
            let start = t.decimals.map_or(0, |d| scaled(t.values[at], d));
            // Machines have been up for different times.
            start + (next(&mut random) % (start.unsigned_abs() + 1)) as i64
        });
        Host {
            job,
            labels,
            counters: counters.collect(),
            at,
            phase_ms: (next(&mut random) % STEP_MS as u64) as i64,
            random,
        }
    }

    /// How many series there are.
    pub(crate) fn series(&self) -> usize {
        self.hosts.iter().map(|h| h.labels.len()).sum()
    }

    /// How many hosts there are.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The next `steps` scrapes of a host, the first in the 15 s from `t` on, as one request;
    /// how many samples these are.
    pub(crate) fn request(
        &mut self,
        host: usize,
        t: i64,
        steps: usize,
        out: &mut WriteRequest,
    ) -> usize {
        let host = &mut self.hosts[host];
        let tracks = &self.jobs[host.job];
        let places: Vec<(usize, usize)> = (0..steps).map(|_| host.step(self.scrapes)).collect();
        for (i, track) in tracks.iter().enumerate() {
            let samples = places.iter().enumerate().map(|(n, (from, to))| {
                let at = t + host.phase_ms + n as i64 * STEP_MS;
                let Some(decimals) = track.decimals else {
                    return (at, track.values[*to]);
                };
                let grown =
                    scaled(track.values[*to], decimals) - scaled(track.values[*from], decimals);
                host.counters[i] += grown.max(0);
                (at, host.counters[i] as f64 / 10_f64.powi(decimals as i32))
            });
            out.push(&host.labels[i], samples);
        }
        tracks.len() * steps
    }
}

impl Host {
    /// From where to where in the recording the next step goes.
    fn step(&mut self, scrapes: usize) -> (usize, usize) {
        if self.at + STEP >= scrapes || next(&mut self.random).is_multiple_of(JUMP) {
            self.at = next(&mut self.random) as usize % (scrapes - STEP);
        }
        let from = self.at;
        self.at += STEP;
        (from, self.at)
    }
}

fn scaled(value: f64, decimals: u32) -> i64 {
    (value * 10_f64.powi(decimals as i32)).round() as i64
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
