//! What every store must do. Run by the tests of each implementation; after every write the store is opened again.

use drover_core::{
    ids::WorkflowId,
    stream::{Head, Record, StreamId},
    time::Timestamp,
};

use super::{Batch, EventStore, StoreError};

/// A place that outlives the stores opened on it.
pub(super) trait Reopen {
    /// The implementation.
    type Store: EventStore;
    /// Opens it; the one before has been dropped.
    fn open(&self) -> Self::Store;
    /// Looks at the place itself.
    fn after_all(&self);
}

fn workflow(text: &str) -> StreamId {
    StreamId::Workflow(WorkflowId::new(text).unwrap())
}

fn lines(n: u32, bytes: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    for i in 0..n {
        lines.extend(std::iter::repeat_n(
            b'a' + u8::try_from(i % 26).unwrap(),
            bytes,
        ));
        lines.push(b'\n');
    }
    lines
}

/// The whole suite.
pub(super) fn run<P: Reopen>(place: &dyn Fn() -> P) {
    empty_is_empty(&place());
    what_was_appended_is_there_after_reopening(&place());
    a_batch_over_many_streams_is_whole(&place());
    reading_begins_with_the_record_that_holds_the_event(&place());
    a_batch_that_does_not_continue_is_refused_and_changes_nothing(&place());
    the_mark_is_the_last_one(&place());
    a_stream_that_is_removed_is_gone_and_its_neighbours_stay(&place());
}

fn empty_is_empty<P: Reopen>(place: &P) {
    let store = place.open();
    let mut n = 0;
    store.scan(&mut |_| n += 1).unwrap();
    assert_eq!(n, 0);
    assert_eq!(store.mark().unwrap(), None);
    assert_eq!(store.restore_pending().unwrap(), None);
    assert!(store.read(&workflow("m1"), 1, 10).unwrap().is_empty());
    place.after_all();
}

fn what_was_appended_is_there_after_reopening<P: Reopen>(place: &P) {
    let mut head = Head::EMPTY;
    let mut written = Vec::new();
    for (count, bytes) in [
        (1, 10),
        (3, 100),
        (1, 4000),
        (2, 5000),
        (1, 300_000),
        (50, 90),
    ] {
        let store = place.open();
        let record = Record::chain(&head, count, lines(count, bytes));
        head = record.head();
        written.push(record.clone());
        store
            .append(&Batch {
                records: vec![(workflow("m1"), record)],
                ..Batch::default()
            })
            .unwrap();
        drop(store);
        let store = place.open();
        assert_eq!(store.read(&workflow("m1"), 1, 100).unwrap(), written);
        let mut found = Vec::new();
        store.scan(&mut |stream| found.push(stream)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].damage, None);
        assert_eq!(found[0].records, written);
    }
    place.after_all();
}

fn a_batch_over_many_streams_is_whole<P: Reopen>(place: &P) {
    let store = place.open();
    let mut batch = Batch::default();
    let names = [
        StreamId::Audit,
        StreamId::Catalog,
        StreamId::Pools,
        workflow("a"),
        workflow("a-b"),
        workflow("ab"),
    ];
    for stream in &names {
        let first = Record::chain(&Head::EMPTY, 2, lines(2, 50));
        let second = Record::chain(&first.head(), 1, lines(1, 6000));
        batch.records.push((stream.clone(), first));
        batch.records.push((stream.clone(), second));
    }
    store.append(&batch).unwrap();
    drop(store);
    let store = place.open();
    let mut found = Vec::new();
    store.scan(&mut |stream| found.push(stream)).unwrap();
    let order: Vec<StreamId> = found.iter().map(|found| found.stream.clone()).collect();
    assert_eq!(order, names, "streams are visited in order");
    assert!(
        found
            .iter()
            .all(|found| found.damage.is_none() && found.records.len() == 2)
    );
    assert_eq!(
        store.read(&workflow("a"), 1, 10).unwrap().len(),
        2,
        "neighbours are not read"
    );
    place.after_all();
}

fn reading_begins_with_the_record_that_holds_the_event<P: Reopen>(place: &P) {
    let store = place.open();
    let mut head = Head::EMPTY;
    for _ in 0..5 {
        let record = Record::chain(&head, 3, lines(3, 2000));
        head = record.head();
        store
            .append(&Batch {
                records: vec![(workflow("m1"), record)],
                ..Batch::default()
            })
            .unwrap();
    }
    for (from, first) in [(0, 1), (1, 1), (3, 1), (4, 4), (6, 4), (15, 13), (16, 13)] {
        let records = store.read(&workflow("m1"), from, 2).unwrap();
        assert_eq!(records[0].first, first, "from {from}");
        assert!(records.len() <= 2);
    }
    place.after_all();
}

fn a_batch_that_does_not_continue_is_refused_and_changes_nothing<P: Reopen>(place: &P) {
    let store = place.open();
    let first = Record::chain(&Head::EMPTY, 1, lines(1, 10));
    let good = Record::chain(&Head::EMPTY, 1, lines(1, 10));
    store
        .append(&Batch {
            records: vec![(workflow("m1"), first.clone())],
            ..Batch::default()
        })
        .unwrap();
    let gap = Record {
        first: 5,
        ..Record::chain(&first.head(), 1, lines(1, 10))
    };
    for bad in [first, gap] {
        let batch = Batch {
            records: vec![(workflow("m2"), good.clone()), (workflow("m1"), bad)],
            mark: Some(Timestamp(7)),
            ..Batch::default()
        };
        assert!(matches!(
            store.append(&batch),
            Err(StoreError::Order { .. })
        ));
    }
    drop(store);
    let store = place.open();
    assert!(
        store.read(&workflow("m2"), 1, 10).unwrap().is_empty(),
        "nothing of the batch is there"
    );
    assert_eq!(store.mark().unwrap(), None);
    assert_eq!(store.read(&workflow("m1"), 1, 10).unwrap().len(), 1);
    place.after_all();
}

fn the_mark_is_the_last_one<P: Reopen>(place: &P) {
    for mark in [5, 3, 9] {
        let store = place.open();
        store
            .append(&Batch {
                mark: Some(Timestamp(mark)),
                ..Batch::default()
            })
            .unwrap();
        drop(store);
        assert_eq!(place.open().mark().unwrap(), Some(Timestamp(mark)));
    }
    place.after_all();
}

fn a_stream_that_is_removed_is_gone_and_its_neighbours_stay<P: Reopen>(place: &P) {
    let names = ["a", "a-b", "ab"];
    let first = Record::chain(&Head::EMPTY, 2, lines(2, 3000));
    let second = Record::chain(&first.head(), 1, lines(1, 9000));
    let both = |name: &str| {
        [
            (workflow(name), first.clone()),
            (workflow(name), second.clone()),
        ]
    };
    let store = place.open();
    let batch = Batch {
        records: names.into_iter().flat_map(both).collect(),
        ..Batch::default()
    };
    store.append(&batch).unwrap();
    drop(store);
    // The tombstone comes with it: both or neither.
    let tombstone = Record::chain(&Head::EMPTY, 1, lines(1, 20));
    let store = place.open();
    let batch = Batch {
        records: vec![(StreamId::Audit, tombstone)],
        removed: vec![workflow("a")],
        ..Batch::default()
    };
    store.append(&batch).unwrap();
    drop(store);
    let store = place.open();
    assert!(store.read(&workflow("a"), 1, 10).unwrap().is_empty());
    let mut found = Vec::new();
    store
        .scan(&mut |stream| found.push((stream.stream, stream.records.len())))
        .unwrap();
    let expected = [
        (StreamId::Audit, 1),
        (workflow("a-b"), 2),
        (workflow("ab"), 2),
    ];
    assert_eq!(found, expected);
    // A stream goes on after a store was opened without looking at it first.
    let third = Record::chain(&second.head(), 1, lines(1, 10));
    let batch = Batch {
        records: vec![(workflow("ab"), third)],
        ..Batch::default()
    };
    store.append(&batch).unwrap();
    place.after_all();
}
