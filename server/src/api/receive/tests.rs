use std::sync::Mutex;

use model::Timestamp;

use super::*;

fn sample(i: i64) -> Sample {
    Sample {
        labels: Labels::from_pairs([("__name__", "up")]),
        at: Timestamp::from_millis(i),
        value: 1.0,
    }
}

#[test]
fn a_large_request_becomes_several_batches_and_a_tally() {
    let sizes = Mutex::new(Vec::new());
    let sizes = std::sync::Arc::new(sizes);
    let seen = std::sync::Arc::clone(&sizes);
    let append = move |batch: &SampleBatch| {
        seen.lock().unwrap().push(batch.samples.len());
        Ok(AppendReport {
            appended: batch.samples.len() as u64 - 1,
            out_of_order: 1,
            ..AppendReport::default()
        })
    };
    let cancel = AtomicBool::new(false);
    let mut receiver = Receiver::new(&append, &cancel);
    for i in 0..BATCH_SAMPLES_MAX as i64 + 5 {
        receiver.float(sample(i)).unwrap();
    }
    receiver.invalid(2, "no good", &Labels::empty());
    let tally = receiver.finish().unwrap();
    assert_eq!(*sizes.lock().unwrap(), [BATCH_SAMPLES_MAX, 5]);
    assert_eq!((tally.floats, tally.refused, tally.invalid), (20_003, 2, 2));
    assert_eq!(
        tally.complaint(),
        "out of order sample (1 of them); no good; out of order sample (1 of them) \
         (20003 of 20007 samples were stored)"
    );
}

#[test]
fn nothing_more_is_stored_when_nobody_waits() {
    let append = |_: &SampleBatch| Ok(AppendReport::default());
    let cancel = AtomicBool::new(true);
    let mut receiver = Receiver::new(&append, &cancel);
    receiver.float(sample(1)).unwrap();
    assert!(matches!(receiver.finish(), Err(Stop::Canceled)));
}

#[test]
fn another_value_at_the_same_instant_is_refused_and_a_repetition_is_stored() {
    let append = |_: &SampleBatch| {
        Ok(AppendReport {
            repeated: 1,
            duplicate: 2,
            ..AppendReport::default()
        })
    };
    let cancel = AtomicBool::new(false);
    let mut receiver = Receiver::new(&append, &cancel);
    receiver.float(sample(1)).unwrap();
    let tally = receiver.finish().unwrap();
    assert_eq!((tally.floats, tally.refused), (1, 2));
    let complaint = tally.complaint();
    assert!(complaint.starts_with("duplicate sample"), "{complaint}");
}
