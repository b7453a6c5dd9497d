//! `drover worker`.

use drover_core::view;
use drover_proto::v1;

use super::{LOOK_AGAIN, Session};
use crate::{
    args::{Format, Global, WorkerActArgs, WorkerCommand},
    client::within,
    convert,
    failure::{Failure, Outcome},
    live,
    output::{Columns, Row, pretty, worker_state},
};

pub(crate) async fn run(command: WorkerCommand, global: &Global) -> Outcome {
    if let WorkerCommand::DeclareDead { act, yes: false } = &command
        && !act.dry_run
    {
        return Err(Failure::usage(
            "declare-dead gives the worker's attempts to others at once; if it still runs, two act at the same time: add --yes",
        ));
    }
    let mut session = Session::open(global).await?;
    match command {
        WorkerCommand::List { query, watch } => session.workers(&query, watch).await,
        WorkerCommand::Describe { id } => session.describe_worker(id).await,
        WorkerCommand::Drain { act, exit } => session.drain(act, exit).await,
        WorkerCommand::Undrain(args) => session.undrain(args).await,
        WorkerCommand::DeclareDead { act, .. } => session.declare_dead(act).await,
        WorkerCommand::RefreshCredentials { id } => {
            session
                .command(id, v1::WorkerCommand::RefreshCredentials, "")
                .await
        }
        WorkerCommand::LogLevel { id, level } => {
            session
                .command(id, v1::WorkerCommand::SetLogLevel, &level)
                .await
        }
        WorkerCommand::Dump { id } => session.command(id, v1::WorkerCommand::DumpState, "").await,
    }
}

const COLUMNS: Columns = Columns {
    narrow: &[
        "ID",
        "STATE",
        "INSTALLATION",
        "POOL",
        "ATTEMPTS",
        "HEARD",
        "BUILD",
    ],
    wide: &["WAITS FOR", "REACH", "KINDS", "INCARNATION"],
};

impl From<WorkerActArgs> for v1::WorkerRequest {
    fn from(args: WorkerActArgs) -> Self {
        Self {
            id: args.id,
            reason: args.reason,
            dry_run: args.dry_run,
        }
    }
}

impl Session {
    async fn workers(&mut self, query: &str, watch: bool) -> Outcome {
        loop {
            self.look_at_clock().await?;
            let request = within(
                v1::ListWorkersRequest {
                    query: query.to_owned(),
                },
                self.timeout,
            );
            let workers = self
                .client
                .fleet
                .list_workers(request)
                .await?
                .into_inner()
                .workers;
            let workers: Vec<view::Worker> = workers.into_iter().map(convert::worker).collect();
            if watch && self.output.format == Format::Table {
                live::clear();
            }
            self.output.list(
                &workers,
                |worker| worker.id.clone(),
                &COLUMNS,
                |worker| Row {
                    narrow: vec![
                        worker.id.clone(),
                        worker_state(worker.state),
                        worker.installation.clone(),
                        worker.pool.clone(),
                        worker.attempts.len().to_string(),
                        self.output.time(worker.last_beat_at),
                        worker.build.clone(),
                    ],
                    wide: vec![
                        worker.waits_for.join(","),
                        worker.reach.join(","),
                        worker.kinds.len().to_string(),
                        worker.incarnation.clone(),
                    ],
                },
            )?;
            if !watch {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn show_worker(&self, worker: &view::Worker, message: &str) -> Outcome {
        self.output.one(worker, &worker.id, || {
            let mut text = String::new();
            let mut line = |name: &str, value: String| {
                if !value.is_empty() {
                    text.push_str(&format!("{:<14}{value}\n", format!("{name}:")));
                }
            };
            line("Worker", worker.id.clone());
            line("State", worker_state(worker.state));
            line("Installation", worker.installation.clone());
            line("Pool", worker.pool.clone());
            line("Build", worker.build.clone());
            line("Incarnation", worker.incarnation.clone());
            line("Heard", self.output.time(worker.last_beat_at));
            line("Reaches", worker.reach.join(", "));
            let credits: Vec<String> = worker
                .credits
                .iter()
                .map(|(class, credits)| {
                    format!("{class} {}/{credits}", worker.used.get(class).unwrap_or(&0))
                })
                .collect();
            line("Credits", credits.join(", "));
            let labels: Vec<String> = worker
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            line("Labels", labels.join(", "));
            line("Attempts", worker.attempts.join(", "));
            line("Waits for", worker.waits_for.join(", "));
            line("Kinds", worker.kinds.join(", "));
            text
        })?;
        if message.is_empty() {
            Ok(())
        } else {
            self.output.text(message)
        }
    }

    async fn describe_worker(&mut self, id: String) -> Outcome {
        self.look_at_clock().await?;
        let request = within(
            v1::WorkerRequest {
                id,
                ..Default::default()
            },
            self.timeout,
        );
        let worker = convert::worker(
            self.client
                .fleet
                .describe_worker(request)
                .await?
                .into_inner(),
        );
        self.show_worker(&worker, "")
    }

    async fn drain(&mut self, args: WorkerActArgs, exit: bool) -> Outcome {
        self.look_at_clock().await?;
        let request = v1::DrainWorkerRequest {
            id: args.id,
            reason: args.reason,
            dry_run: args.dry_run,
            exit,
        };
        let response = self
            .client
            .fleet
            .drain_worker(within(request, self.timeout))
            .await?
            .into_inner();
        self.acted_on_worker(response)
    }

    async fn undrain(&mut self, args: WorkerActArgs) -> Outcome {
        self.look_at_clock().await?;
        let request = within(args.into(), self.timeout);
        let response = self.client.fleet.undrain_worker(request).await?;
        self.acted_on_worker(response.into_inner())
    }

    async fn declare_dead(&mut self, args: WorkerActArgs) -> Outcome {
        self.look_at_clock().await?;
        let request = within(args.into(), self.timeout);
        let response = self.client.fleet.declare_worker_dead(request).await?;
        self.acted_on_worker(response.into_inner())
    }

    fn acted_on_worker(&self, response: v1::WorkerResponse) -> Outcome {
        let worker = convert::worker(response.worker.unwrap_or_default());
        self.output
            .one(&worker, &worker.id, || response.message.clone())
    }

    async fn command(&mut self, id: String, command: v1::WorkerCommand, argument: &str) -> Outcome {
        let request = v1::CommandWorkerRequest {
            id,
            command: command.into(),
            argument: argument.to_owned(),
            reason: String::new(),
        };
        let response = self
            .client
            .fleet
            .command_worker(within(request, self.timeout))
            .await?
            .into_inner();
        match convert::json(response.answer.as_ref()) {
            None | Some(serde_json::Value::Null) => self.output.text("done"),
            Some(answer) => self.output.text(&pretty(&answer)),
        }
    }
}
