//! Which bytes of each trigger the machines look at, and which triggers share a bucket: so that
//! as little as possible of ordinary log text is told.

use super::{ByteSet, EDGE, NARROW, NARROW_BUCKETS, Sieve, States, Trigger, WIDE, WIDE_BUCKETS};

/// A trigger in a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) trigger: usize,
    /// Where it ends, seen from where the bytes looked at end.
    offset: isize,
    /// Of the eight bytes up to there: with the bits of `set` set, those of `kept` are `expect`.
    set: u64,
    kept: u64,
    expect: u64,
    /// Whether these bytes are all of the trigger and this comparison is exact.
    certain: bool,
}

impl Member {
    /// Whether a text may have it, whose eight bytes up to where those looked at end are these.
    #[inline]
    pub(super) fn may_end(&self, last: u64) -> bool {
        (last | self.set) & self.kept == self.expect
    }

    /// Whether no more need be compared.
    #[inline]
    pub(super) fn is_certain(&self) -> bool {
        self.certain
    }

    /// Where the trigger ends if the bytes looked at end before `end`.
    #[inline]
    pub(super) fn trigger_end(&self, end: usize) -> Option<usize> {
        end.checked_add_signed(self.offset)
    }

    fn looks_at_end(&self, triggers: &[Trigger]) -> bool {
        self.offset == -triggers[self.trigger].after.cast_signed()
    }

    /// `end`: behind which of its sets the bytes looked at end.
    fn new(number: usize, trigger: &Trigger, end: usize) -> Self {
        let (mut set, mut kept, mut expect) = ([0; 8], [0; 8], [0; 8]);
        let mut certain = end == trigger.sets.len() && end <= 8;
        let last_first = trigger.sets[..end].iter().rev();
        for (at, bytes) in (0..8).rev().zip(last_first) {
            let mut all = bytes.bytes();
            match (all.next(), all.next(), all.next()) {
                (Some(only), None, None) => (kept[at], expect[at]) = (u8::MAX, only),
                (Some(upper), Some(lower), None) if upper | 0x20 == lower => {
                    (set[at], kept[at], expect[at]) = (0x20, u8::MAX, lower);
                }
                _ => certain = false,
            }
        }
        let counted = trigger.sets.len() - trigger.after;
        Member {
            trigger: number,
            offset: counted.cast_signed() - end.cast_signed(),
            set: u64::from_le_bytes(set),
            kept: u64::from_le_bytes(kept),
            expect: u64::from_le_bytes(expect),
            certain,
        }
    }
}

/// Triggers whose sets are mixed, one set for each byte looked at, the last ones last.
struct Bucket {
    sets: Vec<ByteSet>,
    members: Vec<Member>,
    /// What it costs to look at what is told: see [`cost`].
    cost: f64,
}

/// Words that logs are full of: what letters alone do not tell about a text. Only speed depends on it.
const SAMPLE: &[u8] = b"2026-11-22T10:15:02.123Z INFO GET /api/v1/users?id=1&page=2 HTTP/1.1\" 200 \
\"https://www.example.com/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
Chrome/131.0.0.0 Safari/537.36\" {\"level\":\"info\",\"time\":1763806502123,\"msg\":\"request completed\",\
\"statusCode\":200,\"requestId\":\"550e8400-e29b-41d4-a716-446655440000\",\"url\":\"/static/css/app.js\",\
\"host\":\"localhost\",\"method\":\"POST\",\"path\":\"/api\"} level=error request_id=4bf92f35 component=auth \
session=1 cache miss, job sent; task.status worker-1 started, PoolWorker service stopped, process exited with code 1: \
failed to connect to database server: timeout [notice] send_mail event=order_created count=3 type=http \
SELECT id, name FROM orders WHERE customer_id = 7 at org.example.Application.run(Application.java:42)";
/// What looking at one place costs anyway, in comparisons with members of a bucket.
const LOOK_COST: f64 = 20.0;
/// How much more likely a digit is after a digit.
const DIGIT_AFTER_DIGIT: f64 = 2.5;

/// Of a byte: how many of a thousand bytes of a log are like it, in round figures. Only speed
/// depends on it.
fn weight(byte: u8) -> f64 {
    let per_mille = match byte {
        b'0'..=b'9' => 25,
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' => 35,
        b'd' | b'l' | b'c' | b'h' | b'u' | b'm' | b'p' | b'f' => 20,
        b':' | b'"' | b'.' | b',' | b'-' | b'/' | b'=' => 20,
        b'a'..=b'z' => 8,
        b'A'..=b'Z' | b'_' | b'[' | b']' | b'{' | b'}' | b'(' | b')' => 5,
        _ => 1,
    };
    f64::from(per_mille) / 1000.0
}

/// What a bucket of so many members costs: how often the sets are found in a text, if each byte but
/// digits stood for itself, and how long that takes.
fn cost(sets: &[ByteSet], members: usize, weights: &[f64; 256]) -> f64 {
    let mut share = 1.0;
    let mut after_digit = false;
    for set in sets {
        if *set == ByteSet::ALL {
            after_digit = false;
            continue;
        }
        let mut here = 0.0;
        for byte in set.bytes() {
            let weight = weights[usize::from(byte)];
            here += match byte.is_ascii_digit() && after_digit {
                true => weight * DIGIT_AFTER_DIGIT,
                false => weight,
            };
        }
        share *= here;
        after_digit = set.holds(b'0');
    }
    share * (LOOK_COST + members as f64)
}

/// The same by how often the sets are found in [`SAMPLE`].
fn cost_in_sample(sets: &[ByteSet], members: usize) -> f64 {
    let found = SAMPLE.windows(sets.len()).filter(|text| {
        let mut pairs = sets.iter().zip(*text);
        pairs.all(|(set, byte)| set.holds(*byte))
    });
    found.count() as f64 / SAMPLE.len() as f64 * (LOOK_COST + members as f64)
}

/// Where a trigger could be put.
struct Place {
    bucket: usize,
    /// Behind which of the trigger's sets the bytes looked at end.
    end: usize,
    cost: f64,
    /// How much of it is new.
    more: f64,
}

pub(super) fn plan(triggers: Vec<Trigger>) -> Sieve {
    let weights: [f64; 256] = std::array::from_fn(|byte| weight(byte as u8));
    let widths = [[WIDE].repeat(WIDE_BUCKETS), [NARROW].repeat(NARROW_BUCKETS)].concat();
    let empty = |width: &usize| Bucket {
        sets: vec![ByteSet::EMPTY; *width],
        members: Vec::new(),
        cost: 0.0,
    };
    let mut buckets: Vec<Bucket> = widths.iter().map(empty).collect();
    // What is told most often first: it takes the best places, and others join it.
    let own = |trigger: &Trigger| {
        let places =
            (1..=trigger.sets.len()).map(|end| cost(&window(trigger, end, WIDE), 0, &weights));
        places.fold(f64::INFINITY, f64::min)
    };
    let mut order: Vec<(f64, usize)> = triggers.iter().map(own).zip(0..).collect();
    order.sort_by(|(a, n), (b, m)| b.total_cmp(a).then(n.cmp(m)));
    for (_, number) in order {
        let trigger = &triggers[number];
        let Some(place) = best(trigger, &buckets, &weights) else {
            continue;
        };
        let bucket = &mut buckets[place.bucket];
        let looked_at = window(trigger, place.end, bucket.sets.len());
        for (mixed, set) in bucket.sets.iter_mut().zip(looked_at) {
            *mixed = mixed.or(set);
        }
        bucket.cost = place.cost;
        bucket.members.push(Member::new(number, trigger, place.end));
    }
    // What a machine tells of a bucket with one member is that member, if it looks at all of it.
    for bucket in &mut buckets {
        let width = bucket.sets.len();
        if let [only] = bucket.members.as_mut_slice() {
            let sets = triggers[only.trigger].sets.len();
            only.certain = only.looks_at_end(&triggers) && sets <= width;
        }
    }
    sieve(triggers, buckets)
}

/// The sets of a trigger before `end` as a bucket has them; anything before its first.
fn window(trigger: &Trigger, end: usize, width: usize) -> Vec<ByteSet> {
    let sets = &trigger.sets[end.saturating_sub(width)..end];
    let mut window = vec![ByteSet::ALL; width - sets.len()];
    window.extend(sets);
    window
}

fn best(trigger: &Trigger, buckets: &[Bucket], weights: &[f64; 256]) -> Option<Place> {
    let mut best: Option<Place> = None;
    // The narrow ones first, so that the wide ones are left to what gains by them.
    for (bucket, known) in buckets.iter().enumerate().rev() {
        let width = known.sets.len();
        for end in width.min(trigger.sets.len())..=trigger.sets.len() {
            let looked_at = window(trigger, end, width);
            let mixed: Vec<ByteSet> = (known.sets.iter().zip(looked_at))
                .map(|(known, set)| known.or(set))
                .collect();
            let is_best = |more: f64| best.as_ref().is_none_or(|best| more < best.more);
            let members = known.members.len() + 1;
            let mut cost = cost(&mixed, members, weights);
            // Counting takes longer, so only where it can matter.
            if !is_best(cost - known.cost) {
                continue;
            }
            cost += cost_in_sample(&mixed, members);
            let more = cost - known.cost;
            if is_best(more) {
                best = Some(Place {
                    bucket,
                    end,
                    cost,
                    more,
                });
            }
        }
    }
    best
}

fn sieve(triggers: Vec<Trigger>, buckets: Vec<Bucket>) -> Sieve {
    let (wide, narrow) = buckets.split_at(WIDE_BUCKETS);
    let mut sieve = Sieve {
        wide: table(wide),
        narrow: table(narrow),
        buckets: Vec::new(),
        start: States {
            wide: u64::MAX,
            narrow: u64::MAX,
        },
        triggers,
        #[cfg(test)]
        slow: false,
    };
    sieve
        .buckets
        .extend(buckets.into_iter().map(|bucket| bucket.members));
    for _ in 0..WIDE {
        sieve.start = sieve.next(sieve.start, EDGE);
    }
    sieve
}

/// Per byte: a zero for each bucket and lane whose set holds it.
fn table(buckets: &[Bucket]) -> [u64; 256] {
    let mut table = [u64::MAX; 256];
    for (number, bucket) in buckets.iter().enumerate() {
        for (lane, set) in bucket.sets.iter().enumerate() {
            for byte in set.bytes() {
                table[usize::from(byte)] &= !(1 << (lane * buckets.len() + number));
            }
        }
    }
    table
}
