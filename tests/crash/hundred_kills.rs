//! A hundred SIGKILLs of coordinator, workers, or both, at random moments of migrations.

use std::{collections::BTreeMap, path::Path, time::Duration};

use crate::DROVER;
use drover_proto::v1::{self, StepState, WorkflowState};
use drover_sim::differences;
use system_tests::{
    client::{Client, summary},
    town::{Plan, Town},
};

const KILLS: usize = 100;

/// Migrations; a new one starts every so many kills, so that each kill finds them at other steps.
const MIGRATIONS: usize = 10;

const INSTALLATIONS: [&str; 2] = ["golem", "lotus"];

fn plan() -> Plan {
    Plan {
        installations: 2,
        generated: MIGRATIONS,
        // Slow enough for a migration to see many kills.
        speed: 150.0,
        ..Plan::default()
    }
}

fn id(n: usize) -> String {
    format!("m{n}")
}

/// The clusters as they are without anybody being killed. Keeps the world as it was before.
async fn undisturbed(before: &Path) -> BTreeMap<String, serde_json::Value> {
    let town = Town::start(DROVER, &plan()).await;
    town.save_world(before);
    let mut client = town.client().await;
    for n in 0..MIGRATIONS {
        assert!(town.migrate(&mut client, &id(n), n).await);
    }
    for n in 0..MIGRATIONS {
        let workflow = town.settled(&id(n)).await;
        assert_eq!(
            workflow.state(),
            WorkflowState::Completed,
            "{:#?}",
            summary(workflow)
        );
    }
    town.assert_ledger_is_clean().await;
    clusters(&town).await
}

/// Each cluster without times and random ids.
async fn clusters(town: &Town) -> BTreeMap<String, serde_json::Value> {
    let world = town.world_at_rest().await;
    let clusters = world["clusters"].as_object().unwrap();
    clusters.clone().into_iter().collect()
}

/// What was printed of a workflow at some time.
struct Printed {
    id: String,
    text: String,
}

fn history(town: &Town, id: &str) -> Option<Printed> {
    let (code, text, _) = town.drover(&["workflow", "history", id, "-o", "jsonl"]);
    (code == 0).then(|| Printed {
        id: id.to_owned(),
        text,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_change_nothing_that_matters() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("before");
    let expected = undisturbed(&before).await;

    let plan = Plan {
        saved: Some(before),
        ..plan()
    };
    let mut town = Town::start(DROVER, &plan).await;
    let mut client = town.client().await;
    let mut acknowledged: Vec<usize> = Vec::new();
    let mut asked = 0;
    let mut printed = Vec::new();
    let mut kills = 0;
    while kills < KILLS {
        // A start is asked for while things die, and counts once it was acknowledged.
        if asked < MIGRATIONS && kills >= asked * KILLS / MIGRATIONS {
            let name = id(asked);
            let request = town.migrate(&mut client, &name, asked);
            if tokio::time::timeout(Duration::from_millis(500), request).await == Ok(true) {
                acknowledged.push(asked);
                asked += 1;
            }
        }
        if let Some(n) = random.choice(&acknowledged) {
            printed.extend(history(&town, &id(*n)));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(20..600))).await;
        kills += strike(&mut town, &mut random).await;
        client = town.client().await;
    }
    while asked < MIGRATIONS {
        assert!(town.migrate(&mut client, &id(asked), asked).await);
        acknowledged.push(asked);
        asked += 1;
    }

    for n in &acknowledged {
        let workflow = settled_with_help(&town, &mut client, &id(*n)).await;
        assert_eq!(
            workflow.state(),
            WorkflowState::Completed,
            "{:#?}",
            summary(workflow)
        );
    }
    assert_eq!(acknowledged.len(), MIGRATIONS);
    let entries = town.assert_ledger_is_clean().await;
    assert!(entries.iter().filter(|entry| entry.changed).count() > 30 * MIGRATIONS);
    let report = town.reality.report().await.unwrap();
    for cluster in &report.clusters {
        assert_eq!(cluster.accidents, Vec::<String>::new(), "{}", cluster.id);
    }
    for before in &printed {
        let after = history(&town, &before.id).unwrap();
        assert!(
            after.text.as_bytes().starts_with(before.text.as_bytes()),
            "what history of {} printed before is not how it begins now",
            before.id
        );
    }
    assert!(printed.len() > KILLS / 2, "histories were read");

    let found = clusters(&town).await;
    for (cluster, expected) in &expected {
        let differences = differences(expected, &found[cluster]);
        assert_eq!(differences, Vec::<String>::new(), "cluster {cluster}");
    }

    let (code, said, errors) = town.drover(&["audit", "verify"]);
    assert_eq!(
        (code, errors.as_str()),
        (0, ""),
        "every stream is whole: {said}"
    );
}

/// A step that lost eleven workers in a row, each within ten minutes, waits for an operator and says so. This one retries it.
async fn settled_with_help(town: &Town, client: &mut Client, id: &str) -> v1::Workflow {
    loop {
        let workflow = town.settled(id).await;
        let lost = workflow.steps.iter().find(|step| {
            let error = step.last_error.as_ref();
            step.state() == StepState::Paused
                && error.is_some_and(|error| error.code == "worker-lost")
        });
        let Some(lost) = lost else { return workflow };
        let request = v1::RetryStepRequest {
            id: id.to_owned(),
            step: lost.id.clone(),
            ..v1::RetryStepRequest::default()
        };
        client.workflows.retry_step(request).await.unwrap();
    }
}

/// Kills something, and begins it again after a while; how many processes died.
async fn strike(town: &mut Town, random: &mut fastrand::Rng) -> usize {
    let installation = INSTALLATIONS[random.usize(0..INSTALLATIONS.len())];
    let (coordinator, worker) = match random.u8(0..3) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    if coordinator {
        town.kill_coordinator();
    }
    if worker {
        town.kill_worker(installation);
    }
    // Sometimes one comes back before the other, and sometimes after a while.
    tokio::time::sleep(Duration::from_millis(random.u64(0..200))).await;
    if worker && random.bool() {
        town.begin_worker(installation);
        if coordinator {
            town.begin_coordinator();
        }
    } else {
        if coordinator {
            town.begin_coordinator();
        }
        if worker {
            town.begin_worker(installation);
        }
    }
    usize::from(coordinator) + usize::from(worker)
}
