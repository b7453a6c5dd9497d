//! A coordinator that is away for long, and a worker that never comes back.

use std::time::Duration;

use drover_proto::v1::{StepState, WorkflowState};
use system_tests::{
    client::summary,
    town::{Plan, Town},
};

use crate::DROVER;

/// At this speed the absence below is longer, in domain time, than every timeout of every step.
const SPEED: f64 = 1_500.0;

/// Longer than a lease lives, shorter than the grace after a restart.
const ABSENCE: Duration = Duration::from_millis(4_000);

const MIGRATIONS: usize = 2;

#[tokio::test]
async fn no_step_runs_again_because_the_coordinator_was_away() {
    let plan = Plan {
        generated: MIGRATIONS,
        speed: SPEED,
        ..Plan::default()
    };
    let mut town = Town::start(DROVER, &plan).await;
    let mut client = town.client().await;
    for n in 0..MIGRATIONS {
        assert!(town.migrate(&mut client, &format!("m{n}"), n).await);
    }
    // Guards run beside these, too.
    for n in 0..MIGRATIONS {
        town.until_step(&format!("m{n}"), "join-etcd", StepState::Running)
            .await;
    }
    town.kill_coordinator();
    tokio::time::sleep(ABSENCE).await;
    town.begin_coordinator();
    for n in 0..MIGRATIONS {
        let workflow = town.settled(&format!("m{n}")).await;
        assert_eq!(
            workflow.state(),
            WorkflowState::Completed,
            "{:#?}",
            summary(workflow)
        );
        for step in workflow.steps.iter().chain(&workflow.guards) {
            assert!(step.attempt <= 1, "{} ran {} times", step.id, step.attempt);
        }
    }
    town.assert_ledger_is_clean().await;
}

#[tokio::test]
async fn a_peer_goes_on_when_a_worker_is_gone_for_good() {
    let mut town = Town::start(DROVER, &Plan::default()).await;
    town.begin_peer("golem", "2");
    let mut client = town.client().await;
    client.workers(2).await;
    assert!(town.migrate(&mut client, "m1", 0).await);
    town.until_step("m1", "join-etcd", StepState::Running).await;
    let holder = client.describe("m1").await;
    let step = holder
        .steps
        .iter()
        .find(|step| step.id == "join-etcd")
        .unwrap();
    let (gone, stays) = match step.worker.as_str() {
        "golem-1" => ("golem", "golem-2"),
        _ => ("golem-2", "golem-1"),
    };
    town.kill_worker(gone);
    let workflow = town.settled("m1").await;
    assert_eq!(
        workflow.state(),
        WorkflowState::Completed,
        "{:#?}",
        summary(workflow)
    );
    let step = workflow
        .steps
        .iter()
        .find(|step| step.id == "join-etcd")
        .unwrap();
    assert_eq!((step.worker.as_str(), step.attempt), (stays, 2));
    town.assert_ledger_is_clean().await;
}
