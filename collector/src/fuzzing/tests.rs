//! The seeds of the fuzz targets, changed at random: what a fuzzer without coverage would try. The
//! same each time, so that a failure can be repeated.

/// Changed inputs of each target at each test.
const ROUNDS: u64 = 500;
/// Of the test that is run by hand: minutes.
const MANY_ROUNDS: u64 = 1_000_000;

/// Longest input.
const BYTES_MAX: usize = 4096;

type Reader = (&'static str, fn(&[u8]));

const READERS: [Reader; 8] = [
    ("certificate", super::certificate),
    ("dbus", super::dbus),
    ("dns", super::dns),
    ("exposition", super::exposition),
    ("logs", super::logs),
    ("redis", super::redis),
    ("statsd", super::statsd),
    ("syslog", super::syslog),
];

#[test]
fn readers_of_foreign_bytes_hold_what_they_promise() {
    for reader in READERS {
        run(reader, ROUNDS);
    }
}

#[test]
#[ignore = "minutes; cargo test -p collector --lib fuzzing -- --ignored"]
fn readers_of_foreign_bytes_hold_for_long() {
    std::thread::scope(|scope| {
        for reader in READERS {
            scope.spawn(move || run(reader, MANY_ROUNDS));
        }
    });
}

fn run((name, read): Reader, rounds: u64) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "no seeds for {name}");
    seeds.iter().for_each(|seed| read(seed));
    let mut random = Random(1);
    for round in 0..rounds {
        let mut input = random.of(&seeds).clone();
        for _ in 0..=random.below(4) {
            random.change(&mut input, &seeds);
        }
        input.truncate(BYTES_MAX);
        let trying = Trying(name, round, &input);
        read(trying.2);
    }
}

/// Says what was tried when it fails.
struct Trying<'a>(&'static str, u64, &'a [u8]);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Trying(name, round, input) = self;
            println!("{name}, round {round}: {}", input.escape_ascii());
        }
    }
}

/// As `cargo xtask fuzz` reads them.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let read = |kind: &str| std::fs::read_to_string(format!("../fuzz/seeds/{name}.{kind}"));
    let mut seeds = Vec::new();
    for line in read("hex").unwrap_or_default().lines() {
        let digits: Vec<char> = line.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
        seeds.push(digits.chunks(2).map(byte).collect());
    }
    let text = read("txt").unwrap_or_default();
    let paragraphs = text.split("\n\n").filter(|p| !p.is_empty());
    seeds.extend(paragraphs.map(|p| p.as_bytes().to_vec()));
    seeds
}

/// xorshift64 (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Bytes that mean something to one reader or another.
    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\0\x01\x7f\x80\xc0\xff:|#@,=.-+*$\"\\{}[] \r\n09aNeE_";
        match self.below(3) {
            0 => self.next() as u8,
            _ => *self.of(TELLING),
        }
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(16)).min(input.len());
        match self.below(6) {
            0 => drop(input.drain(at..end)),
            1 => {
                let byte = self.byte();
                input.insert(at, byte);
            }
            2 => {
                let copy = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            3 => {
                let other = self.of(seeds);
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            4 if at < input.len() => input[at] ^= 1 << self.below(8),
            _ if at < input.len() => input[at] = self.byte(),
            _ => {}
        }
    }
}
