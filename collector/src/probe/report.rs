//! What a probe found out so far. It outlives a probe whose time was over.

use crate::target::Sink;

/// Longest label value told, bytes: certificates may name thousands of hosts.
const LABEL_BYTES_MAX: usize = 2048;

/// Figures of one probe; each series once, the last value counts.
#[derive(Debug, Default)]
pub(super) struct Report {
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Report {
    /// Sets a figure without labels.
    pub(super) fn set(&mut self, name: &'static str, value: f64) {
        self.set_with(name, &[], value);
    }

    /// Sets a figure.
    pub(super) fn set_with(
        &mut self,
        name: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        *self.figure(name, labels) = value;
    }

    /// Adds to a figure of one phase.
    pub(super) fn add_phase(&mut self, name: &'static str, phase: &'static str, seconds: f64) {
        *self.figure(name, &[("phase", phase)]) += seconds;
    }

    /// Forgets a family.
    pub(super) fn remove(&mut self, name: &'static str) {
        self.figures.retain(|f| f.name != name);
    }

    fn figure(&mut self, name: &'static str, labels: &[(&'static str, &str)]) -> &mut f64 {
        let same = |f: &Figure| {
            f.name == name
                && f.labels.len() == labels.len()
                && f.labels
                    .iter()
                    .zip(labels)
                    .all(|((a, x), (b, y))| a == b && *x == cut(y))
        };
        let at = self.figures.iter().position(same);
        let at = at.unwrap_or_else(|| {
            self.figures.push(Figure {
                name,
                labels: labels
                    .iter()
                    .map(|(n, v)| (*n, cut(v).to_owned()))
                    .collect(),
                value: 0.0,
            });
            self.figures.len() - 1
        });
        &mut self.figures[at].value
    }

    /// Hands everything on.
    pub(super) fn put(&self, sink: &mut impl Sink) {
        for figure in &self.figures {
            let labels: Vec<(&str, &str)> = figure
                .labels
                .iter()
                .map(|(n, v)| (*n, v.as_str()))
                .collect();
            sink.put(figure.name, &labels, figure.value);
        }
    }

    /// The value of a figure without labels.
    #[cfg(test)]
    pub(super) fn get(&self, name: &str) -> Option<f64> {
        let found = self.figures.iter().find(|f| f.name == name)?;
        Some(found.value)
    }
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(LABEL_BYTES_MAX)]
}
