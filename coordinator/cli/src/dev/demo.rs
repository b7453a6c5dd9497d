//! `drover demo`: one live migration in the simulated world, from start to report; or a fleet of them.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use drover_core::view;
use drover_model::VintageCluster;
use drover_proto::v1;
use tokio::sync::mpsc;

use super::{
    WorldArgs,
    clusters::{self, Source},
    fleet::{self, FleetPlan},
    operator::{self, ACTOR, Deeds, Operator, RETRIES, THINK},
    report::Verdict,
    signals,
    town::{Plan, Town},
};
use crate::{
    args::{Format, Global},
    client::{Client, within},
    convert,
    failure::{Failure, Outcome},
    live::Live,
    output::{self, Output},
};

/// The name of the migration.
const ID: &str = "demo";

const REQUEST: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Files with the custom resources of your own vintage cluster, as `kubectl get -o yaml` prints them
    #[arg(long, value_name = "FILE", num_args = 1..)]
    cluster: Vec<PathBuf>,
    /// A fleet of so many generated clusters of varied shapes, or of those in files
    #[arg(long, value_name = "N|FILE", num_args = 1.., conflicts_with = "cluster")]
    clusters: Vec<String>,
    /// Fleet: how many migrations are under way at once
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..))]
    at_once: u16,
    /// Fleet: how often the coordinator, a worker or both are killed on the way, at random moments
    #[arg(long, value_name = "N", default_value_t = 0)]
    kills: u32,
    /// Print the custom resources of the sample cluster, to start from
    #[arg(long)]
    print_crs: bool,
    #[command(flatten)]
    world: WorldArgs,
}

/// Runs the demo.
pub(crate) async fn run(args: DemoArgs, global: &Global) -> Outcome {
    if args.print_crs {
        return Output::new(global).text(drover_sim::sample_crs());
    }
    let folder =
        tempfile::tempdir().map_err(|error| Failure::failed(format!("no folder: {error}")))?;
    let source = source(&args, &folder.path().join("cluster.yaml"))?;
    let mut found = source.read(&args.world)?;
    let is_fleet = !args.clusters.is_empty() || found.len() > 1 || args.kills > 0;
    let plan = Plan {
        data: None,
        listen: ([127, 0, 0, 1], 0).into(),
        source,
        world: args.world,
    };
    if is_fleet {
        let plan = FleetPlan {
            town: plan,
            clusters: found,
            at_once: usize::from(args.at_once),
            kills: args.kills,
        };
        return fleet::run(plan, global).await;
    }
    if found.is_empty() {
        return Err(Failure::usage("the files describe no cluster"));
    }
    one(plan, found.remove(0), global).await
}

/// One migration, step by step.
async fn one(plan: Plan, cluster: VintageCluster, global: &Global) -> Outcome {
    let mut stop = signals()?;
    let began = Instant::now();
    let installations = clusters::installations(&plan.world);
    let installation = drover_sim::installation_of(&cluster, &installations)
        .map_err(|error| Failure::usage(error.to_string()))?
        .name
        .clone();
    output::say(&format!(
        "migrating {} ({}, {} masters, {} node pools) in the simulated world",
        cluster.id,
        cluster.region,
        cluster.replicas(),
        cluster.pools.len()
    ));
    let town = tokio::select! {
        town = Town::start(plan, Arc::new(|text: &str| output::say(text))) => town?,
        // Children end with this process.
        () = stop.next() => return Err(interrupted()),
    };
    let outcome = tokio::select! {
        outcome = migrate(&town, &cluster.id, &installation, global) => outcome,
        failure = town.broken() => Err(failure),
        () = stop.next() => Err(interrupted()),
    };
    let judged = match outcome {
        Ok((workflow, deeds)) => Verdict::of(&town, workflow, deeds, began.elapsed())
            .await
            .and_then(|verdict| {
                verdict.print(&Output::new(global))?;
                verdict.judge()
            }),
        Err(failure) => Err(failure),
    };
    if judged.is_err() {
        town.keep_folder();
        output::say(&format!("logs and stores are in {}", town.data.display()));
    }
    town.stop().await;
    judged
}

fn interrupted() -> Failure {
    Failure::failed("interrupted")
}

/// The files that were named, or the sample cluster's in a file.
fn source(args: &DemoArgs, sample: &std::path::Path) -> Outcome<Source> {
    if !args.clusters.is_empty() {
        return Source::parse(&args.clusters);
    }
    if !args.cluster.is_empty() {
        return Ok(Source::Files(args.cluster.clone()));
    }
    std::fs::write(sample, drover_sim::sample_crs())
        .map_err(|error| Failure::failed(format!("{}: {error}", sample.display())))?;
    Ok(Source::Files(vec![sample.to_path_buf()]))
}

async fn migrate(
    town: &Town,
    cluster: &str,
    installation: &str,
    global: &Global,
) -> Outcome<(view::Workflow, Deeds)> {
    let mut client = Client::connect_as(ACTOR, &town.address.to_string(), REQUEST).await?;
    let input = serde_json::json!({ "cluster": cluster, "installation": installation });
    let request = v1::StartWorkflowRequest {
        id: ID.to_owned(),
        definition: "aws-live-migration".to_owned(),
        version: 0,
        input: Some(v1::Json {
            text: serde_json::to_vec(&input).expect("JSON values serialize"),
        }),
        dry_run: false,
        reason: "demo".to_owned(),
    };
    client
        .workflows
        .start_workflow(within(request, REQUEST))
        .await?;
    let mut operator = Operator::default();
    let (tell, mut wakes) = mpsc::unbounded_channel();
    let mut stream = client
        .workflows
        .watch_workflow(v1::WatchWorkflowRequest { id: ID.to_owned() })
        .await?
        .into_inner();
    // These formats are one document: the verdict.
    let one_document = matches!(global.output, Format::Json | Format::Yaml | Format::Name);
    let mut live = Live::new(global.output);
    let mut thinking = false;
    let mut last = None;
    let tasks = tokio_util::task::TaskTracker::new();
    let outcome = loop {
        // Both arms are cancel-safe: a stream of messages and a queue.
        tokio::select! {
            message = stream.message() => {
                let Some(message) = message? else {
                    break Err(Failure::failed("the coordinator ended the stream"));
                };
                let workflow = convert::workflow(message);
                if !one_document {
                    live.show(&workflow)?;
                }
                let ended = workflow.state.is_ended();
                let held = !operator.work(&workflow).is_empty();
                let stuck = needs_a_person(&operator, &workflow);
                last = Some(workflow);
                if ended {
                    break Ok(());
                }
                if let Some(failure) = stuck {
                    break Err(failure);
                }
                if held && !thinking {
                    thinking = true;
                    let tell = tell.clone();
                    tasks.spawn(async move {
                        tokio::time::sleep(THINK).await;
                        // Nobody listens any more once the workflow has ended.
                        tell.send(()).ok();
                    });
                }
            }
            Some(()) = wakes.recv() => {
                thinking = false;
                if let Some(workflow) = &last
                    && let Err(failure) = act(&mut operator, &mut client, workflow).await
                {
                    break Err(failure);
                }
            }
        }
    };
    live.end();
    outcome?;
    // With the outputs, which nobody watches.
    let request = v1::DescribeWorkflowRequest { id: ID.to_owned() };
    let workflow = client
        .workflows
        .describe_workflow(within(request, REQUEST))
        .await?
        .into_inner();
    Ok((convert::workflow(workflow), operator.deeds().clone()))
}

async fn act(operator: &mut Operator, client: &mut Client, workflow: &view::Workflow) -> Outcome {
    for work in operator.work(workflow) {
        if operator::carry_out(client, ID, &work).await? {
            operator.note(ID, &work);
        }
    }
    Ok(())
}

/// Why the migration does not complete by itself or by what the demo can do.
fn needs_a_person(operator: &Operator, workflow: &view::Workflow) -> Option<Failure> {
    let hold = workflow
        .holds
        .iter()
        .find(|hold| hold.code == "step-paused")?;
    operator.work(workflow).is_empty().then(|| {
        Failure::failed(format!(
            "the migration does not complete: {} is refused, also after up to {RETRIES} retries; the reason is above",
            hold.step
        ))
    })
}
