use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use drover_ports::{CloudCall, EtcdCall, KubeReply, StoreCall};
use drover_step_api::{Fence, Timestamp};

use super::*;

/// Fails so many times, and answers then.
struct Far {
    error: PortError,
    failures: AtomicU32,
    asked: AtomicU32,
}

impl Far {
    fn failing(times: u32, kind: PortErrorKind) -> Arc<Self> {
        Arc::new(Self {
            error: PortError::new(kind, "ec2:DescribeVpcs", "not now"),
            failures: AtomicU32::new(times),
            asked: AtomicU32::new(0),
        })
    }
}

#[async_trait]
impl Door for Far {
    async fn pass(&self, _: &Caller, _: Call, _: Option<Stamp>) -> Result<Reply, PortError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let fails = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        match fails {
            Ok(_) => Err(self.error.clone()),
            Err(_) => Ok(Reply::Kube(KubeReply::Done)),
        }
    }

    async fn refresh_credentials(&self) {}
}

/// Notes how long somebody wanted to sleep, and lets nobody wait.
#[derive(Default)]
struct Slept(Mutex<Vec<Duration>>);

#[async_trait]
impl Clock for Slept {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    async fn sleep(&self, duration: Duration) {
        self.0.lock().unwrap().push(duration);
    }
}

fn caller() -> Caller {
    Caller {
        installation: "golem".to_owned(),
        kind: "checks.preflight/1".to_owned(),
        workflow: "m1".to_owned(),
        step: "preflight".to_owned(),
        attempt: 1,
        worker: "golem-1".to_owned(),
    }
}

fn read() -> Call {
    Call::Cloud {
        cluster: "c0001".to_owned(),
        call: CloudCall::DescribeVpcs { ids: Vec::new() },
    }
}

/// How often the far side was asked, whether it answered, and how long was waited.
async fn ask(far: Arc<Far>, call: Call, stamp: Option<Stamp>) -> (u32, bool, Vec<u64>) {
    let clock = Arc::new(Slept::default());
    let door = PatientDoor::new(far.clone(), clock.clone());
    let answered = door.pass(&caller(), call, stamp).await.is_ok();
    let slept = clock.0.lock().unwrap();
    let seconds = slept.iter().map(Duration::as_secs).collect();
    (far.asked.load(Ordering::Relaxed), answered, seconds)
}

#[tokio::test]
async fn a_read_that_fails_for_a_moment_is_asked_again() {
    let far = Far::failing(2, PortErrorKind::Unavailable);
    assert_eq!(ask(far, read(), None).await, (3, true, vec![1, 3]));
    let far = Far::failing(3, PortErrorKind::Throttled);
    assert_eq!(ask(far, read(), None).await, (3, false, vec![1, 3]));
}

#[tokio::test]
async fn an_error_that_stays_is_told_at_once() {
    let far = Far::failing(1, PortErrorKind::Denied);
    assert_eq!(ask(far, read(), None).await, (1, false, Vec::new()));
}

#[tokio::test]
async fn whoever_asks_for_more_time_gets_it() {
    let mut far = Far::failing(1, PortErrorKind::Throttled);
    Arc::get_mut(&mut far).unwrap().error.retry_after_ms = 7_000;
    assert_eq!(ask(far, read(), None).await, (2, true, vec![7]));
}

#[tokio::test]
async fn a_change_passes_once() {
    let stamp = Stamp {
        workflow: "m1".to_owned(),
        step: "snapshot-etcd".to_owned(),
        attempt: 1,
        fence: Fence {
            epoch: 1,
            counter: 1,
        },
        effect: "save".to_owned(),
        idempotency_key: "an-uuid".to_owned(),
        compensating: false,
    };
    let call = Call::RegionStore {
        call: StoreCall::Put {
            key: "snapshot".to_owned(),
            data: drover_ports::SecretBytes::new(Vec::new()),
        },
    };
    let far = Far::failing(1, PortErrorKind::Unavailable);
    assert_eq!(ask(far, call, Some(stamp)).await, (1, false, Vec::new()));
}

#[tokio::test]
async fn where_silence_is_an_answer_nobody_asks_twice() {
    let call = Call::Etcd {
        cluster: "c0001".to_owned(),
        call: EtcdCall::MemberList,
    };
    let far = Far::failing(1, PortErrorKind::Unreachable);
    assert_eq!(ask(far, call, None).await, (1, false, Vec::new()));
}
