//! Rows, lanes and delays.

use super::*;
use model::control::MemoryControlStore;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn add(outbox: &mut Outbox, receiver: &str, group: &str, critical: bool, changes: &mut Changes) {
    let seq = outbox.next_ordinal;
    let draft = Draft {
        group_key: group,
        receiver,
        integration: "webhook/0",
        reason: NotifyReason::First,
        critical,
        payload: Payload::Json {
            url: None,
            body: seq.to_string(),
        },
    };
    let id = Outbox::row_id((group, receiver, "webhook/0"), seq, at(0));
    outbox.add(id, draft, at(0), changes);
}

fn retry(after: Option<u64>) -> Outcome {
    Outcome::Retry {
        after: after.map(Duration::from_secs),
        error: "503".to_owned(),
    }
}

#[test]
fn lanes_are_independent_and_messages_about_one_group_stay_in_order() {
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    for (receiver, group) in [("a", "g1"), ("a", "g1"), ("a", "g2"), ("b", "g1")] {
        add(&mut outbox, receiver, group, false, &mut changes);
    }
    assert_eq!(outbox.choose(at(0)), [0, 3]);
    outbox.begin(0, &mut changes);
    assert_eq!(outbox.choose(at(0)), [3]);
    outbox.finish(0, &retry(None), at(0), &mut changes);
    assert_eq!(outbox.choose(at(0)), [2, 3]); // g1 of a waits, g2 goes on
    outbox.begin(2, &mut changes);
    outbox.finish(2, &Outcome::Delivered, at(0), &mut changes);
    outbox.begin(0, &mut changes);
    outbox.finish(0, &Outcome::Delivered, at(2), &mut changes);
    assert_eq!(outbox.choose(at(2)), [1, 3]);
}

#[test]
fn what_the_other_side_asks_for_holds_its_whole_lane() {
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    add(&mut outbox, "a", "g1", false, &mut changes);
    add(&mut outbox, "a", "g2", false, &mut changes);
    outbox.begin(0, &mut changes);
    outbox.finish(0, &retry(Some(60)), at(0), &mut changes);
    assert!(outbox.choose(at(59)).is_empty());
    assert_eq!(outbox.next_due(), Some(at(60)));
    assert_eq!(outbox.choose(at(60)), [0]);
}

#[test]
fn a_delivery_makes_what_waits_in_its_lane_due_in_order() {
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    for (receiver, group) in [
        ("a", "g1"),
        ("a", "g1"),
        ("a", "g2"),
        ("a", "g3"),
        ("b", "g1"),
    ] {
        add(&mut outbox, receiver, group, false, &mut changes);
    }
    for ordinal in [0, 2, 4] {
        for _ in 0..10 {
            outbox.begin(ordinal, &mut changes);
            outbox.finish(ordinal, &retry(None), at(100), &mut changes);
        }
    }
    assert_eq!(outbox.choose(at(101)), [3]);
    outbox.begin(3, &mut changes);
    outbox.finish(3, &Outcome::Delivered, at(101), &mut changes);
    assert_eq!(outbox.choose(at(101)), [0]); // not lane b, not ahead of its turn
    // One that fails all the same is not tried again between any two others.
    outbox.begin(0, &mut changes);
    outbox.finish(0, &retry(None), at(101), &mut changes);
    outbox.begin(2, &mut changes);
    outbox.finish(2, &Outcome::Delivered, at(102), &mut changes);
    assert!(outbox.choose(at(102)).is_empty());
}

#[test]
fn what_does_not_get_through_is_told_by_lane() {
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    let told = |outbox: &Outbox, now| -> Vec<String> {
        let troubles = outbox.troubles(at(now));
        troubles.iter().map(ToString::to_string).collect()
    };
    add(&mut outbox, "a", "g1", false, &mut changes);
    for _ in 0..2 {
        outbox.begin(0, &mut changes);
        outbox.finish(0, &retry(None), at(1), &mut changes);
    }
    outbox.begin(0, &mut changes);
    assert!(told(&outbox, 2).is_empty()); // the third is under way
    outbox.finish(0, &retry(None), at(3), &mut changes);
    let waits = |s: u64| {
        format!(
            "1 notification to receiver \"a\" (webhook/0) not delivered yet, waiting for {s} s, last error: 503"
        )
    };
    assert_eq!(told(&outbox, 4), [waits(4)]);
    add(&mut outbox, "b", "g1", false, &mut changes);
    assert_eq!(told(&outbox, 301).len(), 2);
    outbox.begin(1, &mut changes);
    let error = "h: answer 404".to_owned();
    outbox.finish(1, &Outcome::Refused { error }, at(301), &mut changes);
    let given_up = "1 notification to receiver \"b\" (webhook/0) given up within a day, last error: h: answer 404";
    assert_eq!(told(&outbox, 302), [waits(302), given_up.to_owned()]);
    assert_eq!(told(&outbox, 302 + 86_400), [waits(302 + 86_400)]);
}

#[test]
fn an_undecided_attempt_is_made_again_after_a_restart_with_the_same_bytes() {
    let control = MemoryControlStore::default();
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    add(&mut outbox, "a", "g1", false, &mut changes);
    let before = outbox.begin(0, &mut changes).unwrap();
    changes.commit(&control).unwrap();
    let mut back = Outbox::restore(&control).unwrap();
    assert_eq!(back.counts.ambiguous, 1);
    let ordinal = back.choose(at(0))[0];
    let again = back.begin(ordinal, &mut changes).unwrap();
    assert_eq!((again.id, again.payload), (before.id, before.payload));
    assert_eq!(again.attempts, 2);
}

#[test]
fn an_attempt_whose_sender_is_gone_is_due_again() {
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    add(&mut outbox, "a", "g1", false, &mut changes);
    outbox.begin(0, &mut changes);
    assert_eq!(outbox.choose(at(0)), Vec::<u64>::new());
    outbox.abandon();
    assert_eq!(outbox.choose(at(0)), [0]);
    assert_eq!(outbox.counts.ambiguous, 1);
}

#[test]
fn what_is_refused_becomes_a_dead_letter_that_survives() {
    let control = MemoryControlStore::default();
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    add(&mut outbox, "a", "g1", false, &mut changes);
    outbox.begin(0, &mut changes);
    let error = "404 no such hook".to_owned();
    outbox.finish(0, &Outcome::Refused { error }, at(1), &mut changes);
    changes.commit(&control).unwrap();
    let back = Outbox::restore(&control).unwrap();
    assert_eq!((back.len(), back.dead_letters()), (0, 1));
    assert_eq!(back.views()[0].last_error, "404 no such hook");
}

#[test]
fn a_full_outbox_gives_up_old_plain_rows_before_critical_ones() {
    let (mut outbox, mut changes) = (Outbox::default(), Changes::default());
    for i in 0..ROWS_MAX {
        add(&mut outbox, "a", "g", i != 5, &mut changes);
    }
    add(&mut outbox, "a", "new", true, &mut changes);
    assert_eq!(outbox.len(), ROWS_MAX);
    assert!(outbox.dead.contains_key(&5));
    add(&mut outbox, "a", "new", true, &mut changes);
    assert!(outbox.dead.contains_key(&0));
    assert_eq!(outbox.counts.dead, 2);
}

#[test]
fn delays_grow_to_their_bound() {
    for attempts in 1..40 {
        let delay = backoff("x", attempts);
        assert!(delay <= BACKOFF_MAX, "{delay:?}");
        assert!(delay >= BACKOFF_MIN / 10, "{delay:?}");
    }
    let distinct: HashSet<Duration> = (0..50).map(|i| backoff(&i.to_string(), 20)).collect();
    assert!(distinct.len() > 40);
}
