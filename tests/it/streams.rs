//! Streams that are replaced because they are old, and workers that come back after theirs have ended.

use std::{collections::BTreeSet, time::Duration};

use drover_core::lease::Profile;
use drover_proto::v1::{self, StepState, WorkflowState};
use system_tests::{
    client::Client, coordinator::Coordinator, eventually, eventually_within, toy::World,
    worker::ToyWorker,
};

const LINE: &str = "
  steps:
    - { id: a, uses: toy.echo/1 }
    - { id: b, uses: toy.make/1, needs: [a] }
    - { id: c, uses: toy.block/1, needs: [b] }
";

async fn generation(client: &mut Client) -> Option<u64> {
    client.dump("w1").await.ok()?["stream_generation"].as_u64()
}

#[tokio::test]
async fn a_stream_that_is_old_is_replaced_and_nobody_notices() {
    let profile = Profile {
        stream_age: Duration::from_millis(200),
        ..Profile::TEST
    };
    let coordinator = Coordinator::with(profile).await;
    let world = World::default();
    let _worker = ToyWorker::start("w1", coordinator.address, &world).await;
    let mut client = coordinator.client().await;
    client.workers(1).await;
    client.register(1, LINE).await;
    let mut ids = Vec::new();
    // Offers, acks and results travel through every moment of several hand-overs.
    eventually_within(
        Duration::from_secs(30),
        "the stream was replaced often",
        async || {
            let id = format!("m{}", ids.len());
            client.start(&id).await;
            ids.push(id);
            // A command is answered, on whichever stream it went out.
            let generation = generation(&mut client).await.expect("commands arrive");
            (generation >= 12).then_some(())
        },
    )
    .await;
    let paused = ids[0].clone();
    client.until_step(&paused, "c", StepState::Running).await;
    client
        .workflows
        .pause_workflow(Client::act(&paused))
        .await
        .unwrap();
    client.until_step(&paused, "c", StepState::Ready).await;
    client
        .workflows
        .resume_workflow(Client::act(&paused))
        .await
        .unwrap();
    world.release("c");
    for id in &ids {
        client.until(id, WorkflowState::Completed).await;
        let history = client.history(id).await;
        for event in ["AttemptLost", "OfferReverted", "AttemptFailed"] {
            assert!(!history.contains(event), "{id}: {history}");
        }
    }
    assert_eq!(world.runs("b") as usize, ids.len(), "nothing ran twice");
    let workers = client
        .fleet
        .list_workers(v1::ListWorkersRequest::default())
        .await
        .unwrap()
        .into_inner()
        .workers;
    assert_eq!(workers[0].state(), v1::WorkerState::Connected);
}

#[tokio::test]
async fn workers_whose_streams_ended_together_do_not_come_back_together() {
    let profile = Profile {
        reconnect_jitter: Duration::from_secs(2),
        ..Profile::TEST
    };
    let mut coordinator = Coordinator::with(profile).await;
    let world = World::default();
    let mut workers = Vec::new();
    for n in 0..8 {
        workers.push(ToyWorker::start(&format!("w{n}"), coordinator.address, &world).await);
    }
    coordinator.client().await.workers(8).await;
    coordinator.stop().await;
    coordinator.begin().await;
    let mut client = coordinator.client().await;
    client.workers(8).await;
    let list = client
        .fleet
        .list_workers(v1::ListWorkersRequest::default())
        .await;
    let came: BTreeSet<Duration> = list
        .unwrap()
        .into_inner()
        .workers
        .into_iter()
        .map(|worker| {
            let at = worker.connected_at.unwrap();
            Duration::new(
                u64::try_from(at.seconds).unwrap(),
                u32::try_from(at.nanos).unwrap(),
            )
        })
        .collect();
    let spread = came.last().unwrap().saturating_sub(*came.first().unwrap());
    // Eight random parts of two seconds lie within a third of a second once in a hundred thousand runs.
    assert!(
        spread > Duration::from_millis(330),
        "all came within {spread:?}"
    );
    eventually("all are heard", async || {
        (client.dump("w7").await.ok()?["worker"] == "w7").then_some(())
    })
    .await;
}
