//! Frames and hellos as a worker of another make may send them: anything that protobuf reads.

use bolero::check;
use drover_core::declaration::KindDeclaration;
use drover_proto::v1;
use prost::Message as _;

use super::from_wire;

/// A hello with everything in it.
fn hello() -> v1::Hello {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let json = || {
        Some(v1::Json {
            text: b"{}".to_vec(),
        })
    };
    let kind = v1::KindDeclaration {
        kind: Some(v1::KindRef {
            name: "fuzz.work".to_owned(),
            version: 1,
        }),
        summary: "works".to_owned(),
        role: v1::Role::Step.into(),
        class: "light".to_owned(),
        compensation: v1::Compensation::RollForward.into(),
        loss_policy: v1::LossPolicy::StopAtPermit.into(),
        timeouts: Some(v1::Timeouts {
            start_to_close: seconds(60),
            ..v1::Timeouts::default()
        }),
        retry: Some(v1::RetryPolicy {
            initial_interval: seconds(1),
            maximum_interval: seconds(2),
            backoff_coefficient: 2.0,
            maximum_attempts: 3,
            maximum_losses: 3,
        }),
        params_schema: json(),
        output_schema: json(),
        ..v1::KindDeclaration::default()
    };
    v1::Hello {
        installation: "golem".to_owned(),
        pool: "default".to_owned(),
        worker: "golem-0".to_owned(),
        incarnation: "process".to_owned(),
        spool: "spool".to_owned(),
        spool_counter: 1,
        protocol_min: 1,
        protocol_max: 1,
        build: "fuzzed".to_owned(),
        kinds: vec![kind],
        credits: Some(v1::Credits {
            by_class: [("light".to_owned(), 3)].into(),
        }),
        held: vec![attempt()],
        ..v1::Hello::default()
    }
}

fn attempt() -> v1::AttemptRef {
    v1::AttemptRef {
        workflow: "m1".to_owned(),
        step: "a".to_owned(),
        fence: Some(v1::Fence {
            epoch: 1,
            counter: 1,
        }),
    }
}

/// A frame with something of everything.
fn frame() -> v1::WorkerFrame {
    let attempt = Some(attempt());
    v1::WorkerFrame {
        beat: Some(v1::Beat {
            number: 1,
            progress: vec![v1::AttemptProgress {
                attempt: attempt.clone(),
                progress: Some(v1::Progress::default()),
                observing: true,
                reports: 1,
            }],
        }),
        acks: vec![v1::OfferAck {
            attempt: attempt.clone(),
        }],
        checkpoints: vec![v1::Checkpoint {
            attempt: attempt.clone(),
            number: 1,
            data: Some(v1::Json {
                text: b"1".to_vec(),
            }),
        }],
        results: vec![v1::AttemptResult {
            attempt,
            outcome: Some(v1::attempt_result::Outcome::Failure(v1::Failure {
                code: "throttled".to_owned(),
                certainty: v1::Certainty::Transient.into(),
                message: "slow down".to_owned(),
                attempt: 0,
                retry_after: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 0,
                }),
            })),
            observed_done: false,
        }],
        ..v1::WorkerFrame::default()
    }
}

/// What is taken from a hello can be stored, and read again.
fn read(hello: v1::Hello) {
    let Ok(hello) = from_wire::hello(hello) else {
        return;
    };
    for declaration in hello.kinds {
        let line = serde_json::to_vec(&declaration).expect("declarations serialize");
        let again = serde_json::from_slice::<KindDeclaration>(&line);
        assert_eq!(again.ok(), Some(declaration));
    }
}

#[test]
fn numbers_that_json_has_no_words_for_are_refused_and_long_times_are_kept() {
    let with = |coefficient: f64, seconds: i64| {
        let mut hello = hello();
        let retry = hello.kinds[0].retry.as_mut().unwrap();
        retry.backoff_coefficient = coefficient;
        retry.maximum_interval = Some(prost_types::Duration { seconds, nanos: 0 });
        hello
    };
    for coefficient in [f64::NAN, f64::INFINITY, 0.5] {
        assert!(from_wire::hello(with(coefficient, 2)).is_err());
    }
    read(with(2.0, i64::MAX));
    assert!(from_wire::hello(with(2.0, i64::MAX)).is_ok());
}

#[test]
fn sound_ones_are_read() {
    from_wire::hello(hello()).expect("a sound hello is read");
    from_wire::frame(frame()).expect("a sound frame is read");
}

#[test]
fn any_bytes_are_read_or_refused() {
    check!()
        .with_type::<Vec<u8>>()
        .with_iterations(3000)
        .with_max_len(256)
        .for_each(|bytes| {
            if let Ok(frame) = v1::WorkerFrame::decode(&**bytes) {
                drop(from_wire::frame(frame));
            }
            if let Ok(hello) = v1::Hello::decode(&**bytes) {
                read(hello);
            }
        });
}

#[test]
fn a_sound_one_with_some_changed_bytes_is_read_or_refused() {
    let (frame, hello) = (frame().encode_to_vec(), hello().encode_to_vec());
    let changed = |bytes: &[u8], changes: &[(u16, u8)]| {
        let mut bytes = bytes.to_vec();
        for (at, with) in changes {
            let at = usize::from(*at) % bytes.len();
            bytes[at] = bytes[at].wrapping_add(*with);
        }
        bytes
    };
    check!()
        .with_type::<Vec<(u16, u8)>>()
        .with_iterations(3000)
        .with_max_len(64)
        .for_each(|changes| {
            if let Ok(frame) = v1::WorkerFrame::decode(&*changed(&frame, changes)) {
                drop(from_wire::frame(frame));
            }
            if let Ok(hello) = v1::Hello::decode(&*changed(&hello, changes)) {
                read(hello);
            }
        });
}
