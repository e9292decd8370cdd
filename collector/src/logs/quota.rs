//! How many bytes of a container's output are kept a day, and what becomes of the rest: one line
//! of every so many. Pure; days are those of the lines' own timestamps, in UTC.

const DAY_NS: i64 = 86_400_000_000_000;

/// Beyond the quota one line of this many is kept.
pub(crate) const SAMPLE: u64 = 100;

/// What has been used of a day. Stored with each position, so that a restart does not begin anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Days since the epoch.
    pub(crate) day: i32,
    /// Bytes kept within the quota.
    pub(crate) bytes: u64,
    /// Lines that came beyond it.
    pub(crate) beyond_lines: u64,
    /// Those of them that were left out.
    pub(crate) dropped_lines: u64,
    /// Their bytes.
    pub(crate) dropped_bytes: u64,
}

impl Used {
    pub(crate) const ENCODED_BYTES: usize = 4 + 4 * 8;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.day.to_le_bytes());
        for number in [
            self.bytes,
            self.beyond_lines,
            self.dropped_lines,
            self.dropped_bytes,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// `None` for another number of bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (day, mut rest) = bytes.split_first_chunk()?;
        let mut next = || {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_le_bytes(*number))
        };
        let used = Used {
            day: i32::from_le_bytes(*day),
            bytes: next()?,
            beyond_lines: next()?,
            dropped_lines: next()?,
            dropped_bytes: next()?,
        };
        rest.is_empty().then_some(used)
    }
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is within the quota.
    Keep,
    /// It stands for [`SAMPLE`] lines.
    Sample,
    /// It is left out.
    Drop,
}

/// What a reader of the stream has to be told, before the entry at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// From here on lines are left out.
    Begins,
    /// Lines are whole again; so much was left out the day before.
    Ended { lines: u64, bytes: u64 },
}

/// Counts one container's output.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    bytes_max: Option<u64>,
    used: Used,
}

impl Quota {
    /// Without `bytes_max` everything is kept.
    pub(crate) fn new(bytes_max: Option<u64>, used: Used) -> Self {
        Quota { bytes_max, used }
    }

    pub(crate) fn used(&self) -> Used {
        self.used
    }

    /// Judges the next entry of so many lines and bytes.
    pub(crate) fn admit(
        &mut self,
        at_ns: i64,
        lines: u64,
        bytes: u64,
    ) -> (Option<Notice>, Admission) {
        let Some(bytes_max) = self.bytes_max else {
            return (None, Admission::Keep);
        };
        let day = i32::try_from(at_ns.div_euclid(DAY_NS)).unwrap_or(i32::MAX);
        let mut notice = None;
        // A clock that is set back does not bring yesterday's quota back.
        if day > self.used.day {
            if self.used.dropped_lines > 0 {
                notice = Some(Notice::Ended {
                    lines: self.used.dropped_lines,
                    bytes: self.used.dropped_bytes,
                });
            }
            self.used = Used {
                day,
                ..Used::default()
            };
        }
        let used = &mut self.used;
        if used.beyond_lines == 0 && used.bytes.saturating_add(bytes) <= bytes_max {
            used.bytes += bytes;
            return (notice, Admission::Keep);
        }
        if used.beyond_lines == 0 {
            notice = Some(Notice::Begins);
        }
        let before = used.beyond_lines / SAMPLE;
        used.beyond_lines += lines.max(1);
        if used.beyond_lines / SAMPLE > before {
            return (notice, Admission::Sample);
        }
        used.dropped_lines += lines;
        used.dropped_bytes += bytes;
        (notice, Admission::Drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_quota_everything_is_kept() {
        let mut quota = Quota::new(None, Used::default());
        assert_eq!(quota.admit(0, 1, u64::MAX), (None, Admission::Keep));
    }

    #[test]
    fn beyond_the_quota_a_sample_is_kept_and_told_once() {
        let mut quota = Quota::new(Some(10), Used::default());
        assert_eq!(quota.admit(0, 1, 10), (None, Admission::Keep));
        assert_eq!(
            quota.admit(1, 1, 1),
            (Some(Notice::Begins), Admission::Drop)
        );
        let mut kept = 0;
        for _ in 0..999 {
            let (notice, admission) = quota.admit(2, 1, 1);
            assert_eq!(notice, None);
            kept += u64::from(admission == Admission::Sample);
        }
        assert_eq!(kept, 10);
        assert_eq!(quota.used().dropped_lines, 990);
        // A clock set back changes nothing, the next day everything.
        assert_eq!(quota.admit(-DAY_NS, 1, 1).1, Admission::Drop);
        let ended = Notice::Ended {
            lines: 991,
            bytes: 991,
        };
        assert_eq!(quota.admit(DAY_NS, 1, 10), (Some(ended), Admission::Keep));
        assert_eq!(quota.admit(DAY_NS, 1, 1).1, Admission::Drop);
    }

    #[test]
    fn what_is_used_survives_its_encoding() {
        let mut quota = Quota::new(Some(1), Used::default());
        quota.admit(DAY_NS * 3, 2, 7);
        let mut bytes = Vec::new();
        quota.used().encode(&mut bytes);
        assert_eq!(bytes.len(), Used::ENCODED_BYTES);
        assert_eq!(Used::decode(&bytes), Some(quota.used()));
        assert_eq!(Used::decode(&bytes[1..]), None);
    }
}
