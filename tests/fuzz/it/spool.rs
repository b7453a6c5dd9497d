//! A worker's spool after anything may have happened to its files.

use std::fs;

use bolero::{TypeGenerator, check};
use drover_step_api::Fence;
use drover_worker::spool::{AttemptKey, Outcome, Spool};
use serde_json::json;

fn key(n: u64) -> AttemptKey {
    AttemptKey {
        workflow: "m1".to_owned(),
        step: "a".to_owned(),
        fence: Fence {
            epoch: 1,
            counter: n,
        },
    }
}

fn outcome(n: u64) -> Outcome {
    Outcome::Output {
        output: json!(n),
        observed: false,
    }
}

/// What happens to the bytes of a log.
#[derive(Clone, Debug, TypeGenerator)]
struct Damage {
    /// Cut off from here, in part of the length.
    cut: u16,
    /// One byte becomes another one.
    flip: Option<(u16, u8)>,
    /// Written behind it.
    tail: Vec<u8>,
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |part: u16, length: usize| length * usize::from(part) / usize::from(u16::MAX);
        bytes.truncate(place(self.cut, bytes.len()));
        if let Some((part, with)) = self.flip
            && !bytes.is_empty()
        {
            let at = place(part, bytes.len() - 1);
            bytes[at] ^= with;
        }
        bytes.extend(&self.tail);
    }
}

#[test]
fn a_damaged_log_opens_keeps_what_is_before_the_damage_and_takes_results_again() {
    check!()
        .with_type::<(u8, Damage)>()
        .with_iterations(300)
        .with_max_len(512)
        .for_each(|(results, damage)| {
            let folder = tempfile::tempdir().unwrap();
            let results = u64::from(results % 8);
            {
                let mut spool = Spool::open(folder.path()).unwrap();
                for n in 0..results {
                    spool.put(key(n), outcome(n)).unwrap();
                }
            }
            let log = folder.path().join("log");
            let whole = fs::read(&log).unwrap();
            let mut bytes = whole.clone();
            damage.apply(&mut bytes);
            fs::write(&log, &bytes).unwrap();
            let same = whole.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
            let sound = whole[..same].iter().filter(|byte| **byte == b'\n').count();

            let mut spool = Spool::open(folder.path()).unwrap();
            for n in 0..u64::try_from(sound).unwrap() {
                assert!(spool.unacked().contains_key(&key(n)), "result {n} is lost");
            }
            spool.put(key(99), outcome(99)).unwrap();
            drop(spool);
            let spool = Spool::open(folder.path()).unwrap();
            assert!(spool.unacked().contains_key(&key(99)));
        });
}

#[test]
fn the_small_files_may_hold_anything() {
    check!()
        .with_type::<(Vec<u8>, Vec<u8>, Vec<u8>)>()
        .with_iterations(200)
        .with_max_len(256)
        .for_each(|(id, counter, epoch)| {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in [("ID", id), ("COUNTER", counter), ("EPOCH", epoch)] {
                fs::write(folder.path().join(name), bytes).unwrap();
            }
            // It may say no, with a reason; it must not panic.
            if let Ok(spool) = Spool::open(folder.path()) {
                assert!(!spool.id().is_empty());
            }
        });
}
