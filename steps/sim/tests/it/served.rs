//! The world as a server: over gRPC, with a journal, killed and opened again.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use drover_model::VintageCluster;
use drover_ports::{
    Call, Caller, CloudCall, Cluster as At, Door as _, Gvk, KubeCall, ObjectRef, PortErrorKind,
};
use drover_sim::{
    FaultKind, FaultSpec, Genesis, ServeOptions, WorldClient, WorldConfig, WorldError, generate,
    sample_crs, serve,
};
use drover_step_api::{Clock as _, Fence, Stamp};
use serde_json::json;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::stage::KEYS;

const PATIENCE: Duration = Duration::from_secs(20);

/// A served world that can be killed: a runtime of its own, dropped without a word.
struct Served {
    runtime: Option<Runtime>,
    address: SocketAddr,
}

fn genesis(faults: Vec<FaultSpec>) -> Genesis {
    let clusters = VintageCluster::read(&[("sample", sample_crs())]).unwrap();
    let config = WorldConfig {
        faults,
        ..WorldConfig::default()
    };
    Genesis::with_keys(config, &clusters, &KEYS).unwrap()
}

impl Served {
    fn start(address: &str, speed: f64, data: Option<&Path>, faults: Vec<FaultSpec>) -> Self {
        let (address, data) = (address.to_owned(), data.map(Path::to_owned));
        // A runtime cannot be made inside another one.
        std::thread::spawn(move || Self::start_here(&address, speed, data, faults))
            .join()
            .unwrap()
    }

    fn start_here(
        address: &str,
        speed: f64,
        data: Option<PathBuf>,
        faults: Vec<FaultSpec>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(bind(address));
        let address = listener.local_addr().unwrap();
        let options = ServeOptions { speed, data };
        let tracker = tokio_util::task::TaskTracker::new();
        runtime.block_on(async {
            tracker.spawn(serve(
                listener,
                move || Ok(genesis(faults)),
                options,
                std::future::pending(),
            ));
        });
        Self {
            runtime: Some(runtime),
            address,
        }
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)))
                .join()
                .unwrap();
        }
    }

    async fn client(&self) -> WorldClient {
        WorldClient::connect(&format!("http://{}", self.address), PATIENCE)
            .await
            .unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A killed server's address is free again after a moment.
async fn bind(address: &str) -> TcpListener {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{address} is not free")
}

fn caller() -> Caller {
    Caller {
        installation: "golem".into(),
        kind: "test.served/1".into(),
        workflow: "m1".into(),
        step: "s".into(),
        attempt: 1,
        worker: "w1".into(),
    }
}

fn stamp(key: &str) -> Stamp {
    Stamp {
        workflow: "m1".into(),
        step: "s".into(),
        attempt: 1,
        fence: Fence {
            epoch: 1,
            counter: 1,
        },
        effect: "annotate".into(),
        idempotency_key: key.into(),
        compensating: false,
    }
}

fn annotate(value: &str) -> Call {
    let gvk = Gvk::new("cluster.x-k8s.io", "v1beta1", "Cluster");
    Call::Kube {
        at: At::VintageMc,
        call: KubeCall::MergePatch {
            object: ObjectRef::new(&gvk, "org-tidewater", "k7m2q"),
            patch: json!({"metadata": {"annotations": {"test": value}}}),
            resource_version: None,
        },
    }
}

fn describe() -> Call {
    Call::Cloud {
        cluster: "k7m2q".into(),
        call: CloudCall::DescribeStacks {
            prefix: "cluster-".into(),
        },
    }
}

#[tokio::test]
async fn calls_pass_over_the_wire_and_the_clock_runs_fast() {
    let served = Served::start("127.0.0.1:0", 500.0, None, Vec::new());
    let client = served.client().await;
    let (door, clock) = (client.door(), client.clock());
    let begin = (clock.now(), std::time::Instant::now());
    door.pass(&caller(), annotate("1"), Some(stamp("a")))
        .await
        .unwrap();
    assert!(door.pass(&caller(), describe(), None).await.is_ok());
    clock.sleep(Duration::from_secs(600)).await;
    let passed = clock.now().since(begin.0);
    assert!(passed >= Duration::from_secs(600), "{passed:?}");
    assert!(begin.1.elapsed() < Duration::from_secs(20));

    let ledger = client.ledger(0).await.unwrap();
    let seen: Vec<(&str, bool)> = ledger
        .iter()
        .map(|e| (e.action.as_str(), e.changed))
        .collect();
    assert_eq!(
        seen,
        [
            ("vintage-mc:patch:Cluster", true),
            ("cloudformation:DescribeStacks", false)
        ]
    );
    assert_eq!(client.ledger(1).await.unwrap().len(), 1);
    assert_eq!(client.report().await.unwrap().clusters[0].gaps, []);
    let normalized = client.normalized().await.unwrap();
    assert!(normalized["clusters"]["k7m2q"].is_object());
}

#[tokio::test]
async fn a_mutation_without_a_stamp_is_a_bug() {
    let served = Served::start("127.0.0.1:0", 100.0, None, Vec::new());
    let client = served.client().await;
    let error = client
        .door()
        .pass(&caller(), annotate("1"), None)
        .await
        .unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Bug);
}

#[tokio::test]
async fn a_caller_that_goes_before_the_effect_has_cancelled_the_call() {
    let served = Served::start("127.0.0.1:0", 1.0, None, Vec::new());
    let client = served.client().await;
    let (door, caller) = (client.door(), caller());
    // The effect of a mutation comes after 50 ms at the earliest.
    let call = door.pass(&caller, annotate("gone"), Some(stamp("gone")));
    let result = tokio::time::timeout(Duration::from_millis(10), call).await;
    assert!(result.is_err(), "the call should not have been through yet");
    // Together these take longer than the effect of the first could have taken.
    for key in ["a", "b", "c", "d"] {
        door.pass(&caller, annotate(key), Some(stamp(key)))
            .await
            .unwrap();
    }
    let ledger = client.ledger(0).await.unwrap();
    let keys: Vec<String> = ledger
        .into_iter()
        .filter_map(|entry| Some(entry.stamp?.idempotency_key))
        .collect();
    assert_eq!(keys, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn expired_credentials_work_again_once_they_are_refreshed() {
    let fault = "expired-credentials@cloudformation:*=once".parse().unwrap();
    let served = Served::start("127.0.0.1:0", 500.0, None, vec![fault]);
    let client = served.client().await;
    let (door, other) = (client.door(), client.door());
    for _ in 0..2 {
        let error = door.pass(&caller(), describe(), None).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::ExpiredCredentials);
    }
    let elsewhere = Caller {
        worker: "w2".into(),
        ..caller()
    };
    assert!(
        other.pass(&elsewhere, describe(), None).await.is_ok(),
        "another worker has its own"
    );
    door.refresh_credentials().await;
    assert!(door.pass(&caller(), describe(), None).await.is_ok());
    assert_eq!(
        client.report().await.unwrap().faults[&FaultKind::ExpiredCredentials],
        1
    );
}

#[tokio::test]
async fn clusters_can_be_added_while_it_runs() {
    let served = Served::start("127.0.0.1:0", 100.0, None, Vec::new());
    let client = served.client().await;
    let documents = generate(3, 9);
    assert_eq!(
        client.add_clusters(documents.clone()).await.unwrap(),
        ["c0001", "c0002", "c0003"]
    );
    assert!(
        client.add_clusters(documents).await.is_err(),
        "they are there already"
    );
    assert_eq!(client.report().await.unwrap().clusters.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_world_is_the_same_world_afterwards_and_its_clock_never_runs_back() {
    let folder = tempfile::tempdir().unwrap();
    let faults: Vec<FaultSpec> = vec!["throttling@cloudformation:*=40%".parse().unwrap()];
    let mut served = Served::start("127.0.0.1:0", 200.0, Some(folder.path()), faults.clone());
    let client = served.client().await;
    let door = client.door();
    for n in 0..20 {
        let value = n.to_string();
        door.pass(&caller(), annotate(&value), Some(stamp(&value)))
            .await
            .unwrap();
        drop(door.pass(&caller(), describe(), None).await);
    }
    door.pass(&caller(), annotate("last"), Some(stamp("last")))
        .await
        .unwrap();
    let added = client.add_clusters(generate(1, 4)).await.unwrap();
    let before = (
        client.ledger(0).await.unwrap(),
        client.normalized().await.unwrap(),
        client.report().await.unwrap(),
        client.clock().now(),
    );
    served.kill();

    let address = served.address.to_string();
    let refused = door.pass(&caller(), describe(), None).await.unwrap_err();
    assert!(
        matches!(
            refused.kind,
            PortErrorKind::Unreachable | PortErrorKind::Lost
        ),
        "{refused}"
    );
    let mut stood = client.clock().now();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = client.clock().now();
        if now == stood {
            break;
        }
        stood = now;
    }
    assert!(
        stood.since(before.3) < Duration::from_secs(1_000),
        "it stands still beyond what is durable"
    );

    let again = Served::start(&address, 200.0, Some(folder.path()), faults);
    let fresh = again.client().await;
    assert_eq!(fresh.ledger(0).await.unwrap(), before.0);
    assert_eq!(fresh.normalized().await.unwrap(), before.1);
    let report = fresh.report().await.unwrap();
    assert_eq!(
        (report.calls, report.faults),
        (before.2.calls, before.2.faults)
    );
    assert!(fresh.clock().now() >= before.3, "the clock ran back");
    assert!(report.clusters.iter().any(|cluster| cluster.id == added[0]));

    // The old door finds its way to the new process by itself, and its clock goes on.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = door
        .pass(&caller(), annotate("after"), Some(stamp("after")))
        .await
    {
        assert!(tokio::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::timeout(PATIENCE, client.clock().sleep(Duration::from_secs(60)))
        .await
        .unwrap();
}

fn journal(folder: &Path) -> PathBuf {
    folder.join("world.journal")
}

/// A journal with a few records, closed properly.
async fn written(folder: &Path) {
    let mut served = Served::start("127.0.0.1:0", 200.0, Some(folder), Vec::new());
    let client = served.client().await;
    for n in 0..5 {
        let value = n.to_string();
        client
            .door()
            .pass(&caller(), annotate(&value), Some(stamp(&value)))
            .await
            .unwrap();
    }
    served.kill();
}

async fn reopened(folder: &Path) -> Result<usize, WorldError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let options = ServeOptions {
        speed: 200.0,
        data: Some(folder.to_owned()),
    };
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let serving = serve(listener, || Ok(genesis(Vec::new())), options, async move {
        drop(wait.await);
    });
    let looking = async {
        let client = WorldClient::connect(&address, PATIENCE).await?;
        let count = client.ledger(0).await?.len();
        done.send(()).unwrap();
        Ok::<_, WorldError>(count)
    };
    let (served, count) = tokio::join!(serving, async {
        tokio::time::timeout(PATIENCE, looking).await
    });
    served?;
    count.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_record_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let path = journal(folder.path());
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    file.write_all(&[200, 1, 0, 0, 7, 7, 7]).unwrap();
    drop(file);
    let torn = std::fs::metadata(&path).unwrap().len();
    assert_eq!(reopened(folder.path()).await.unwrap(), 5);
    let bytes = std::fs::read(&path).unwrap();
    assert!(
        !bytes[..usize::try_from(torn).unwrap().min(bytes.len())]
            .ends_with(&[200, 1, 0, 0, 7, 7, 7])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let path = journal(folder.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let opened = open_only(folder.path()).await;
    let error = opened.unwrap_err().to_string();
    assert!(
        error.contains("damaged at byte 8") && error.contains("restore"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_something_else_and_a_folder_in_use_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(journal(folder.path()), b"something else entirely").unwrap();
    let error = open_only(folder.path()).await.unwrap_err();
    assert!(matches!(error, WorldError::Foreign { .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let served = Served::start("127.0.0.1:0", 1.0, Some(folder.path()), Vec::new());
    served.client().await;
    let error = open_only(folder.path()).await.unwrap_err();
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
}

async fn open_only(folder: &Path) -> Result<(), WorldError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ServeOptions {
        speed: 1.0,
        data: Some(folder.to_owned()),
    };
    serve(
        listener,
        || Ok(genesis(Vec::new())),
        options,
        std::future::ready(()),
    )
    .await
}
