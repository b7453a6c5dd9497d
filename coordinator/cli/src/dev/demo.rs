//! `drover demo`: one live migration in the simulated world, from start to report.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use drover_core::view::{self, WorkflowState};
use drover_model::VintageCluster;
use drover_proto::v1;
use tokio::sync::mpsc;

use super::{
    WorldArgs,
    clusters::{self, Source},
    report::{Deeds, Verdict},
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

/// How long a person may look at a held migration before the demo, playing the operator, lets it go on.
const THINK: Duration = Duration::from_millis(1500);

/// How often the operator of the demo retries one step. What fails again for the same reason needs a real one.
const RETRIES: u32 = 2;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Files with the custom resources of your own vintage cluster, as `kubectl get -o yaml` prints them
    #[arg(long, value_name = "FILE", num_args = 1..)]
    cluster: Vec<PathBuf>,
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
    let mut stop = signals()?;
    let began = Instant::now();
    let folder =
        tempfile::tempdir().map_err(|error| Failure::failed(format!("no folder: {error}")))?;
    let source = source(&args, &folder.path().join("cluster.yaml"))?;
    let cluster = the_cluster(&source, &args.world)?;
    let installation = drover_sim::installation_of(&cluster, &clusters::installations(&args.world))
        .map_err(|error| Failure::usage(error.to_string()))?
        .name
        .clone();
    let plan = Plan {
        data: None,
        listen: ([127, 0, 0, 1], 0).into(),
        source,
        world: args.world,
    };
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
    if !args.cluster.is_empty() {
        return Ok(Source::Files(args.cluster.clone()));
    }
    std::fs::write(sample, drover_sim::sample_crs())
        .map_err(|error| Failure::failed(format!("{}: {error}", sample.display())))?;
    Ok(Source::Files(vec![sample.to_path_buf()]))
}

fn the_cluster(source: &Source, world: &WorldArgs) -> Outcome<VintageCluster> {
    let mut found = source.read(world)?;
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().map(|cluster| cluster.id.as_str()).collect();
        return Err(Failure::usage(format!(
            "the files describe {} clusters ({}) and the demo shows one: give it one, or all of them to `drover dev --clusters`",
            ids.len(),
            ids.join(", ")
        )));
    }
    Ok(found.remove(0))
}

async fn migrate(
    town: &Town,
    cluster: &str,
    installation: &str,
    global: &Global,
) -> Outcome<(view::Workflow, Deeds)> {
    let mut client = town.client.clone();
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
    let mut operator = Operator {
        client: client.clone(),
        deeds: Deeds::default(),
        retries: BTreeMap::new(),
    };
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
                last = Some(workflow);
                if ended {
                    break Ok(());
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
                    && let Err(failure) = operator.act(workflow).await
                {
                    break Err(failure);
                }
            }
        }
    };
    live.end();
    outcome?;
    let workflow = last.ok_or_else(|| Failure::failed("the migration was never seen"))?;
    Ok((workflow, operator.deeds))
}

/// Plays the operator: approves gates, and retries what was refused.
struct Operator {
    client: Client,
    deeds: Deeds,
    retries: BTreeMap<String, u32>,
}

enum Work {
    Approve(String),
    Retry(String),
}

impl Operator {
    /// What waits for an operator.
    fn work(&self, workflow: &view::Workflow) -> Vec<Work> {
        if workflow.state == WorkflowState::Unwinding {
            return Vec::new();
        }
        let work = workflow
            .holds
            .iter()
            .filter_map(|hold| match hold.code.as_str() {
                "gate-waiting" => Some(Work::Approve(hold.step.clone())),
                "step-paused" => Some(Work::Retry(hold.step.clone())),
                _ => None,
            });
        work.collect()
    }

    async fn act(&mut self, workflow: &view::Workflow) -> Outcome {
        for work in self.work(workflow) {
            match work {
                Work::Approve(step) => {
                    let request = v1::GateRequest {
                        id: ID.to_owned(),
                        step: step.clone(),
                        reason: "the demo approves".to_owned(),
                        evidence: String::new(),
                        dry_run: false,
                    };
                    self.client
                        .workflows
                        .approve_gate(within(request, REQUEST))
                        .await?;
                    self.deeds.approved.push(step);
                }
                Work::Retry(step) => {
                    let retries = self.retries.entry(step.clone()).or_default();
                    if *retries == RETRIES {
                        return Err(Failure::failed(format!(
                            "the migration does not complete: {step} is refused again after {RETRIES} retries; the reason is above"
                        )));
                    }
                    *retries += 1;
                    let request = v1::RetryStepRequest {
                        id: ID.to_owned(),
                        step: step.clone(),
                        reason: "the demo retries what was refused".to_owned(),
                        ..v1::RetryStepRequest::default()
                    };
                    self.client
                        .workflows
                        .retry_step(within(request, REQUEST))
                        .await?;
                    self.deeds.retried.push(step);
                }
            }
        }
        Ok(())
    }
}
