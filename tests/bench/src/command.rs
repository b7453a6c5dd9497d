//! From an operator's command to the running step that it is meant for, while many steps run.
//!
//! A command is durable before it leaves the coordinator, so it takes one commit and two trips over the network. There is no
//! null engine here: that path is the one of `latency`, whose null engine is the limit of the machine for it.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use drover_proto::v1;
use serde::Serialize;

use crate::{
    host::Host,
    load::{
        Steps,
        operator::{Act, Operator},
        session::{Session, Worker},
    },
    place::Place,
    report::{Common, Goal, Report, noise, say},
    server::{self, Engine, Server},
    stats::{Machine, Summary, Times, Usage},
};

/// Each workflow has the one step that runs.
const STEPS: u32 = 1;

/// How long one command may take until nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// The goal of the design.
const GOAL_P99_MS: f64 = 20.0;

/// How the scenario runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Steps that run all the while; each gets every command once
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    running: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Command {
    scenario: &'static str,
    host: Host,
    running: u32,
    /// From submit until the running step at the worker has it.
    pause: Summary,
    resume: Summary,
    cancel: Summary,
    /// From submit until the operator has the answer, of all three.
    answered: Summary,
    /// What everything else on the machine used; more than a little spoils the figures.
    other_cores: f64,
    disk_append: Summary,
    goals: Vec<Goal>,
}

/// The steps that run, and the newest command.
#[derive(Default)]
struct Running {
    attempts: Vec<v1::AttemptRef>,
    dismissed: u32,
    seen: Option<(Act, String, Instant)>,
}

impl Steps for Running {
    fn offered(&mut self, _: &v1::Offer) {}

    fn confirmed(&mut self, attempt: &v1::AttemptRef) -> bool {
        self.attempts.push(attempt.clone());
        false
    }

    fn stored(&mut self, _: &v1::AttemptRef) {}

    fn dismissed(&mut self, _: &v1::AttemptRef) {
        self.dismissed += 1;
    }

    fn commanded(&mut self, command: &v1::Command) {
        use v1::command::Command;
        let (act, attempt) = match &command.command {
            Some(Command::Pause(attempt)) => (Act::Pause, Some(attempt)),
            Some(Command::Resume(attempt)) => (Act::Resume, Some(attempt)),
            Some(Command::Cancel(cancel)) => (Act::Cancel, cancel.attempt.as_ref()),
            _ => return,
        };
        if let Some(attempt) = attempt {
            self.seen = Some((act, attempt.workflow.clone(), Instant::now()));
        }
    }
}

/// Starts the steps, then sends each of them every command.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Command> {
    let place = Place::make(&options.common.place)?;
    let disk_append = place.fdatasync()?;
    say("command: starting");
    let mut server = Server::spawn(
        Engine::Coordinator,
        &place.folder("coordinator"),
        server::ANY,
    )?;
    let listen = server.ready().await?.listen;
    let (mut session, _) = Worker::new()
        .connect(listen, options.running, Vec::new())
        .await?;
    let mut operator = Operator::connect(listen).await?;
    operator.register(STEPS).await?;
    let mut running = Running::default();
    start(options.running, &mut session, &mut operator, &mut running).await?;

    let now = || {
        let (server, client) = (Usage::of(server.pid()), Usage::of(std::process::id()));
        Machine::now(&[&server, &client])
    };
    let before = now();
    let mut answered = Times::new();
    let mut figures = Vec::new();
    for act in [Act::Pause, Act::Resume, Act::Cancel] {
        say(&format!("command: {act:?}"));
        let mut times = Times::new();
        for attempt in running.attempts.clone() {
            let sample = send(
                act,
                &attempt.workflow,
                &mut session,
                &operator,
                &mut running,
            );
            let (seen, answer) = tokio::time::timeout(PATIENCE, sample)
                .await
                .with_context(|| format!("{act:?} never came to {}", attempt.workflow))?
                .with_context(|| format!("the server said: {}", server.last_words()))?;
            times.record(seen);
            answered.record(answer);
        }
        figures.push(times.summary());
    }
    let other_cores = now().others_since(&before);
    server.kill().await?;
    let [pause, resume, cancel] = figures[..] else {
        anyhow::bail!("there are three commands");
    };
    Ok(Command {
        scenario: "command",
        host: Host::here(),
        running: options.running,
        goals: vec![Goal {
            what: "pause and cancel are seen within 20 ms, p99",
            is_met: pause.p99_ms.max(cancel.p99_ms) < GOAL_P99_MS,
        }],
        pause,
        resume,
        cancel,
        answered: answered.summary(),
        other_cores,
        disk_append,
    })
}

async fn start(
    count: u32,
    session: &mut Session,
    operator: &mut Operator,
    running: &mut Running,
) -> anyhow::Result<()> {
    for _ in 0..count {
        operator.start();
    }
    let mut started = 0;
    while started < count || running.attempts.len() < count as usize {
        // Both are cancel-safe; the bodies do not await.
        tokio::select! {
            turned = session.turn(running) => turned?,
            answer = operator.started(), if started < count => {
                answer?;
                started += 1;
            }
        }
    }
    Ok(())
}

/// One command: until the step sees it, and until it is answered.
async fn send(
    act: Act,
    workflow: &str,
    session: &mut Session,
    operator: &Operator,
    running: &mut Running,
) -> anyhow::Result<(Duration, Duration)> {
    running.seen = None;
    let submitted = Instant::now();
    let asked = operator.act(act, workflow);
    tokio::pin!(asked);
    let (mut seen, mut answered) = (None, None);
    loop {
        if let (Some(seen), Some(answered)) = (seen, answered) {
            return Ok((seen, answered));
        }
        // Both are cancel-safe: the request is polled again.
        tokio::select! {
            turned = session.turn(running) => turned?,
            answer = &mut asked, if answered.is_none() => {
                answer?;
                answered = Some(submitted.elapsed());
            }
        }
        anyhow::ensure!(running.dismissed == 0, "an attempt was dismissed");
        if let Some((came, of, at)) = &running.seen {
            anyhow::ensure!(
                (*came, of.as_str()) == (act, workflow),
                "{act:?} for {workflow} came as {came:?} to {of}"
            );
            seen = Some(*at - submitted);
        }
    }
}

impl Report for Command {
    fn text(&self) -> String {
        let mut text = format!(
            "command: submit until the running step has it, {} steps running\n{}\n",
            self.running,
            self.host.line()
        );
        for (name, summary) in [
            ("pause", &self.pause),
            ("resume", &self.resume),
            ("cancel", &self.cancel),
            ("answered", &self.answered),
        ] {
            writeln!(text, "{name:<9} {}", summary.line()).expect("a string takes everything");
        }
        let disk = self.disk_append.line();
        write!(
            text,
            "cores: others {:.2}\nthe bare disk, one small append and fdatasync at a time: {disk}\n{}{}",
            self.other_cores,
            noise([self.other_cores]),
            Goal::lines(&self.goals)
        )
        .expect("a string takes everything");
        text
    }
}
