//! Makes the table: one automaton of the literals after Aho and Corasick, one of the patterns from
//! `regex-automata`, and of both the pairs of states that occur together.

use std::collections::HashMap;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

use super::{Automaton, CLASSES, EDGE, STATES_MAX, TELLS, Told, Trigger};

/// Bytes that logs have most, in that order: what a row of the table says of them should lie in
/// one line of the processor's cache.
const FREQUENT: &[u8] = b"0123456789eatinorsdl -:.\"/,cpmuhgfbvwy=[]";

/// An automaton over bytes. State 0 is where a text begins.
struct Machine {
    /// Class of each byte.
    classes: Vec<usize>,
    /// Per state, per class.
    next: Vec<Vec<usize>>,
    /// Per state, its triggers.
    hits: Vec<Vec<u16>>,
}

pub(super) fn build(triggers: Vec<Trigger>) -> Result<Automaton, String> {
    let literals = literals(&triggers)?;
    let patterns = patterns(&triggers)?;
    let mut classes = [0_u8; 256];
    let mut of_both: Vec<(usize, usize)> = Vec::new();
    let rest = (0..=255_u8).filter(|byte| !FREQUENT.contains(byte));
    for byte in FREQUENT.iter().copied().chain(rest).map(usize::from) {
        let both = (literals.classes[byte], patterns.classes[byte]);
        let class = of_both.iter().position(|known| *known == both);
        let class = class.unwrap_or_else(|| {
            of_both.push(both);
            of_both.len() - 1
        });
        classes[byte] = u8::try_from(class).map_err(|e| e.to_string())?;
    }

    // A state of the whole is a state of each.
    let mut numbers: HashMap<(usize, usize), usize> = HashMap::from([((0, 0), 0)]);
    let mut states = vec![(0, 0)];
    let mut rows: Vec<Vec<usize>> = Vec::new();
    while let Some((literal, pattern)) = states.get(rows.len()).copied() {
        let mut row = Vec::with_capacity(of_both.len());
        for (a, b) in &of_both {
            let to = (literals.next[literal][*a], patterns.next[pattern][*b]);
            let number = *numbers.entry(to).or_insert_with(|| {
                states.push(to);
                states.len() - 1
            });
            row.push(number);
        }
        rows.push(row);
        if states.len() > STATES_MAX {
            return Err(format!("more than {STATES_MAX} states"));
        }
    }

    let hits: Vec<Box<[Told]>> = states
        .iter()
        .map(|(literal, pattern)| {
            let told = |late| {
                move |trigger: &u16| Told {
                    trigger: *trigger,
                    late,
                }
            };
            let at_once = literals.hits[*literal].iter().map(told(false));
            // The lazy automaton tells of a match with the byte after it.
            at_once
                .chain(patterns.hits[*pattern].iter().map(told(true)))
                .collect()
        })
        .collect();
    if of_both.len() > CLASSES {
        return Err(format!("more than {CLASSES} classes of bytes"));
    }
    let mut table = vec![[0_u16; CLASSES]; states.len()];
    for (state, row) in rows.iter().enumerate() {
        for (class, to) in row.iter().enumerate() {
            let tells = if hits[*to].is_empty() { 0 } else { TELLS };
            let to = u16::try_from(*to).map_err(|e| e.to_string())?;
            table[state][class] = to | tells;
        }
    }
    let mut automaton = Automaton {
        classes,
        table,
        start: 0,
        hits,
        triggers,
    };
    automaton.start = automaton.next(automaton.start, EDGE) & !TELLS;
    Ok(automaton)
}

/// The literals without regard to case.
fn literals(triggers: &[Trigger]) -> Result<Machine, String> {
    let mut classes = vec![0; 256];
    let mut symbols: Vec<u8> = Vec::new();
    let mut words: Vec<(u16, Vec<u8>)> = Vec::new();
    for (number, trigger) in triggers.iter().enumerate() {
        if let Some(tail) = trigger.tail() {
            let number = u16::try_from(number).map_err(|e| e.to_string())?;
            words.push((number, tail.to_ascii_lowercase().into_bytes()));
        }
    }
    for byte in words.iter().flat_map(|(_, word)| word) {
        if !symbols.contains(byte) {
            symbols.push(*byte);
            // Class 0 is everything else.
            classes[usize::from(*byte)] = symbols.len();
            classes[usize::from(byte.to_ascii_uppercase())] = symbols.len();
        }
    }
    let width = symbols.len() + 1;
    let mut tree: Vec<Vec<Option<usize>>> = vec![vec![None; width]];
    let mut hits: Vec<Vec<u16>> = vec![Vec::new()];
    for (number, word) in &words {
        let mut state = 0;
        for byte in word {
            let class = classes[usize::from(*byte)];
            state = match tree[state][class] {
                Some(next) => next,
                None => {
                    tree.push(vec![None; width]);
                    hits.push(Vec::new());
                    let new = tree.len() - 1;
                    tree[state][class] = Some(new);
                    new
                }
            };
        }
        hits[state].push(*number);
    }
    // Breadth first: where the tree ends, go on as the longest suffix that is in the tree would.
    let mut next: Vec<Vec<usize>> = vec![vec![0; width]; tree.len()];
    let mut suffix = vec![0; tree.len()];
    let mut queue = std::collections::VecDeque::from([0]);
    while let Some(state) = queue.pop_front() {
        for class in 0..width {
            let elsewhere = if state == 0 {
                0
            } else {
                next[suffix[state]][class]
            };
            next[state][class] = match tree[state][class] {
                Some(child) => {
                    suffix[child] = elsewhere;
                    let inherited = hits[elsewhere].clone();
                    hits[child].extend(inherited);
                    queue.push_back(child);
                    child
                }
                None => elsewhere,
            };
        }
    }
    Ok(Machine {
        classes,
        next,
        hits,
    })
}

/// The patterns: the lazy automaton walked through all its states.
fn patterns(triggers: &[Trigger]) -> Result<Machine, String> {
    let mut numbers: Vec<u16> = Vec::new();
    let mut patterns: Vec<&str> = Vec::new();
    for (number, trigger) in triggers.iter().enumerate() {
        if let Trigger::Pattern(pattern, _) = trigger {
            numbers.push(u16::try_from(number).map_err(|e| e.to_string())?);
            patterns.push(pattern);
        }
    }
    let dfa = DFA::builder()
        .configure(
            DFA::config()
                .match_kind(MatchKind::All)
                // Never cleared while we walk.
                .cache_capacity(1 << 28),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().which_captures(WhichCaptures::None))
        .build_many(&patterns)
        .map_err(|e| e.to_string())?;
    let of = |byte: u8| usize::from(dfa.byte_classes().get(byte));
    let mut representatives: Vec<(usize, u8)> = (0..=255).rev().map(|b| (of(b), b)).collect();
    representatives.sort_unstable();
    representatives.dedup_by_key(|(class, _)| *class);
    let mut cache = dfa.create_cache();
    let start = dfa
        .start_state_forward(&mut cache, &Input::new(""))
        .map_err(|e| e.to_string())?;
    let mut known: HashMap<LazyStateID, usize> = HashMap::from([(start, 0)]);
    let mut states = vec![start];
    let mut next: Vec<Vec<usize>> = Vec::new();
    while let Some(from) = states.get(next.len()).copied() {
        let mut row = Vec::with_capacity(representatives.len());
        for (_, byte) in &representatives {
            let to = dfa
                .next_state(&mut cache, from, *byte)
                .map_err(|e| e.to_string())?;
            let number = *known.entry(to).or_insert_with(|| {
                states.push(to);
                states.len() - 1
            });
            row.push(number);
        }
        next.push(row);
        if states.len() > STATES_MAX || cache.clear_count() > 0 {
            return Err(format!("more than {STATES_MAX} states of patterns"));
        }
    }
    let hits = states
        .iter()
        .map(|state| hits(&dfa, &cache, *state, &numbers))
        .collect();
    Ok(Machine {
        classes: (0..=255).map(of).collect(),
        next,
        hits,
    })
}

fn hits(dfa: &DFA, cache: &Cache, state: LazyStateID, numbers: &[u16]) -> Vec<u16> {
    if !state.is_match() {
        return Vec::new();
    }
    let count = dfa.match_len(cache, state);
    let pattern = |n| dfa.match_pattern(cache, state, n).as_usize();
    (0..count).map(|n| numbers[pattern(n)]).collect()
}
