//! A fleet in the simulated world: all of it migrated, so many at once, while somebody watches or steers it from another
//! terminal.

mod follow;
mod frame;
mod kills;
mod picture;
mod roster;
mod show;
mod verdict;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use drover_model::{VintageCluster, cr::keys};
use drover_step_api::Clock as _;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::{
    follow::{News, follow},
    kills::Kills,
    picture::Picture,
    roster::{Member, Roster},
    show::Show,
    verdict::Verdict,
};
use super::{
    clusters, operator,
    operator::{ACTOR, Operator, THINK, Work},
    town::{Plan, Town, Victim},
};
use crate::{
    args::Global,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::Output,
};

/// How long the demo waits for somebody to let paused migrations go on, once everything else has ended.
const LINGER: Duration = Duration::from_secs(5);

/// How often the picture on a terminal is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// News that may wait: more of it is merged by the coordinator.
const QUEUE: usize = 64;

const REQUEST: Duration = Duration::from_secs(30);

/// What a fleet demo is made from.
pub(super) struct FleetPlan {
    /// The town.
    pub(super) town: Plan,
    /// Its clusters.
    pub(super) clusters: Vec<VintageCluster>,
    /// Migrations under way at once.
    pub(super) at_once: usize,
    /// How often somebody dies.
    pub(super) kills: u32,
}

/// Migrates all of them.
///
/// # Errors
/// When one is not migrated, customers would have noticed, or the ledger shows what must not be.
pub(super) async fn run(plan: FleetPlan, global: &Global) -> Outcome {
    let mut stop = super::signals()?;
    let began = Instant::now();
    let installations = clusters::installations(&plan.town.world);
    let mut members = Vec::new();
    for cluster in &plan.clusters {
        members.push(member(cluster, &installations)?);
    }
    let kills = Kills::new(plan.kills, plan.town.world.seed, installations.len());
    let (say, said) = mpsc::unbounded_channel();
    let mut show = Show::new(global);
    show.say(&format!(
        "making a world of {} clusters in {} installations",
        members.len(),
        installations.len()
    ))?;
    let town = tokio::select! {
        town = Town::start(plan.town, Arc::new(move |text: &str| drop(say.send(text.to_owned())))) => town?,
        // Children end with this process.
        () = stop.next() => return Err(interrupted()),
    };
    let client = Client::connect_as(ACTOR, &town.address.to_string(), REQUEST).await?;
    let (tell, news) = mpsc::channel(QUEUE);
    let (done, acts) = mpsc::unbounded_channel();
    let mut fleet = Fleet {
        town,
        client,
        installations,
        roster: Roster::new(members),
        operator: Operator::default(),
        thinking: BTreeSet::new(),
        kills,
        at_once: plan.at_once,
        show,
        began,
        tell,
        done,
        tasks: TaskTracker::new(),
    };
    let came = tokio::select! {
        came = fleet.migrate(news, acts, said) => came,
        () = stop.next() => Err(interrupted()),
    };
    let output = Output::new(global);
    let verdict = fleet.finish(came, &output);
    let judged = tokio::select! {
        judged = verdict => judged,
        // The second time: children end with this process.
        () = stop.next() => return Err(interrupted()),
    };
    if judged.is_err() {
        fleet.town.keep_folder();
        fleet.show.say(&format!(
            "logs and stores are in {}",
            fleet.town.data.display()
        ))?;
    }
    tokio::select! {
        () = fleet.town.stop() => {}
        () = stop.next() => {}
    }
    judged
}

fn interrupted() -> Failure {
    Failure::failed("interrupted")
}

/// The migration of one cluster.
fn member(
    cluster: &VintageCluster,
    installations: &[drover_sim::InstallationConfig],
) -> Outcome<Member> {
    let installation = drover_sim::installation_of(cluster, installations)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut input = serde_json::json!({ "cluster": cluster.id, "installation": installation.name });
    // Production asks for approval before the point of no return.
    if cluster.label(keys::SERVICE_PRIORITY) == Some("highest") {
        input["environment"] = "prod".into();
    }
    Ok(Member {
        id: cluster.id.clone(),
        installation: installation.name.clone(),
        input,
        asked: false,
        seen: None,
        not_started: None,
        helped: false,
    })
}

/// What the demo's operator was to do, and what came of it.
enum Act {
    /// Somebody has looked at it long enough.
    Due(String),
    /// It was done, unless somebody was quicker.
    Done(String, Work, Outcome<bool>),
}

struct Fleet {
    town: Town,
    client: Client,
    installations: Vec<drover_sim::InstallationConfig>,
    roster: Roster,
    operator: Operator,
    /// Migrations that wait for the operator to have thought.
    thinking: BTreeSet<String>,
    kills: Kills,
    at_once: usize,
    show: Show,
    began: Instant,
    tell: mpsc::Sender<News>,
    done: mpsc::UnboundedSender<Act>,
    tasks: TaskTracker,
}

impl Fleet {
    /// Until everybody has ended or waits for a person.
    async fn migrate(
        &mut self,
        mut news: mpsc::Receiver<News>,
        mut acts: mpsc::UnboundedReceiver<Act>,
        mut said: mpsc::UnboundedReceiver<String>,
    ) -> Outcome {
        self.show.say(&format!(
            "steer it from another terminal: drover --address {} workflow list (or watch, pause, resume, cancel ID; brake on)",
            self.town.address
        ))?;
        let mut draw = tokio::time::interval(DRAW);
        draw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rests_since: Option<tokio::time::Instant> = None;
        while !self.roster.is_over() {
            self.start_more();
            if !self.roster.is_at_rest() {
                rests_since = None;
            }
            let until = if self.roster.is_at_rest() {
                Some(*rests_since.get_or_insert_with(tokio::time::Instant::now) + LINGER)
            } else {
                None
            };
            // All arms are cancel-safe: queues, an interval and an instant.
            tokio::select! {
                Some(news) = news.recv() => self.learn(news)?,
                Some(act) = acts.recv() => self.act(act)?,
                Some(text) = said.recv() => self.show.say(&text)?,
                failure = self.town.broken() => return Err(failure),
                _ = draw.tick() => self.draw(until)?,
                () = sleep_until(until) => break,
            }
        }
        Ok(())
    }

    fn start_more(&mut self) {
        while let Some(member) = self.roster.next(self.at_once) {
            let task = follow(self.client.clone(), member, self.tell.clone());
            self.tasks.spawn(task);
        }
    }

    fn learn(&mut self, news: News) -> Outcome {
        match news {
            News::NotStarted(id, failure) => {
                let member = self.roster.member(&id);
                member.not_started = Some(failure.message);
                let member = member.clone();
                self.show.changed(&member, None, &self.roster)
            }
            News::Seen(workflow) => {
                let id = workflow.id.clone();
                let waited = self.roster.member(&id).helped;
                let (before, now) = self.roster.saw(*workflow, &self.operator);
                let member = self.roster.member(&id).clone();
                if member.helped {
                    self.think_about(id);
                }
                if before != now || member.helped != waited {
                    self.show.changed(&member, Some(before), &self.roster)?;
                }
                let victims = self.kills.strike(self.roster.progress());
                if !victims.is_empty() {
                    self.kill(&victims)?;
                }
                Ok(())
            }
        }
    }

    fn kill(&mut self, victims: &[Victim]) -> Outcome {
        let mut names = Vec::new();
        for victim in victims {
            self.town.kill(*victim);
            names.push(match victim {
                Victim::Coordinator => "the coordinator".to_owned(),
                Victim::Worker(n) => format!("the worker of {}", self.installations[*n].name),
            });
        }
        let text = format!("killed {}", names.join(" and "));
        self.show.say(&text)
    }

    fn think_about(&mut self, id: String) {
        if !self.thinking.insert(id.clone()) {
            return;
        }
        let done = self.done.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(THINK).await;
            // Nobody listens once the fleet has ended.
            drop(done.send(Act::Due(id)));
        });
    }

    fn act(&mut self, act: Act) -> Outcome {
        match act {
            Act::Due(id) => {
                self.thinking.remove(&id);
                let Some(workflow) = &self.roster.member(&id).seen else {
                    return Ok(());
                };
                for work in self.operator.work(workflow) {
                    let (mut client, done, id) =
                        (self.client.clone(), self.done.clone(), id.clone());
                    self.tasks.spawn(async move {
                        let outcome = operator::carry_out(&mut client, &id, &work).await;
                        drop(done.send(Act::Done(id, work, outcome)));
                    });
                }
                Ok(())
            }
            Act::Done(id, work, Ok(true)) => {
                self.operator.note(&id, &work);
                self.show.acted(&id, &work)
            }
            // A person was quicker.
            Act::Done(_, _, Ok(false)) => Ok(()),
            Act::Done(id, _, Err(failure)) if failure.exit == Exit::Unreachable => {
                self.think_about(id);
                Ok(())
            }
            Act::Done(id, work, Err(failure)) => Err(Failure::failed(format!(
                "{id}: the demo's operator wanted to have {work}, and: {failure}"
            ))),
        }
    }

    fn draw(&mut self, ends_at: Option<tokio::time::Instant>) -> Outcome {
        let now = self.town.world.clock().now();
        let picture = Picture {
            roster: &self.roster,
            installations: &self.installations,
            deeds: self.operator.deeds(),
            kills: self.kills.done(),
            address: self.town.address,
            real: self.began.elapsed(),
            now: drover_core::time::Timestamp(now.0),
            ends_in: ends_at.map(|at| at - tokio::time::Instant::now()),
        };
        self.show.draw(&picture)
    }

    /// The report; the first thing that went wrong.
    async fn finish(&mut self, came: Outcome, output: &Output) -> Outcome {
        self.draw(None)?;
        self.show.end();
        let verdict = Verdict::of(self).await?;
        verdict.print(output)?;
        came.and_then(|()| verdict.judge())
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
