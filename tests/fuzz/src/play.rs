//! What made-up workers and operators may do, in any order, and playing it on a bench.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "test support: a panic is a finding"
)]

use std::{collections::BTreeMap, time::Duration};

use bolero::TypeGenerator;
use drover_coordinator::engine::messages::{
    ActOn, AttemptRef, Frame, Hello, Input, Page, Progress, Start, ToWorker,
};
use drover_core::{
    ids::{Fence, StepId, WorkflowId},
    view,
    workflow::{
        Act, Outcome,
        event::{Certainty, StepFailure},
    },
};
use serde_json::json;

use crate::bench::{Bench, DEFINITION, STEPS, Session, hello};

/// One thing that somebody does.
#[derive(Clone, Debug, TypeGenerator)]
pub enum Move {
    /// A worker opens a session.
    Hello {
        /// Which of the workers.
        worker: u8,
        /// Its process.
        process: u8,
        /// It has lost its spool.
        other_spool: bool,
        /// What it claims to hold.
        held: Vec<Named>,
        /// Results that it claims to have.
        results: Vec<Named>,
    },
    /// A worker says something.
    Frame {
        /// In which of the sessions.
        session: u8,
        /// What, part by part.
        parts: Vec<Part>,
    },
    /// A session ends.
    Close {
        /// Which.
        session: u8,
    },
    /// Time passes.
    Pass {
        /// Twice so many seconds.
        seconds: u8,
    },
    /// Somebody starts a workflow.
    Start {
        /// Which.
        workflow: u8,
    },
    /// Somebody does something to one.
    Act {
        /// To which.
        workflow: u8,
        /// What.
        what: u8,
        /// To which of its steps.
        step: u8,
    },
    /// The engine ends where it stands and begins again.
    Restart,
}

/// One part of a frame.
#[derive(Clone, Debug, TypeGenerator)]
pub enum Part {
    /// A beat, with progress.
    Beat(Named),
    /// An offer is taken.
    Ack(Named),
    /// An offer is not.
    Reject(Named),
    /// A checkpoint.
    Checkpoint(Named, u8),
    /// A guard's violation.
    Violation(Named),
    /// An attempt ends.
    Result(Named, End),
    /// Other credits.
    Credits(u8),
    /// A command was carried out.
    CommandAck(u8),
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub enum End {
    /// Well.
    Output,
    /// Well already.
    Observed,
    /// At a pause.
    Yielded,
    /// Taken back.
    Compensated,
    /// Badly.
    Transient,
    /// Badly, and with an opinion on when to try again.
    Later(u64),
    /// For good.
    Refused,
    /// It was given up.
    Failed,
    /// It was asked to stop.
    Cancelled,
    /// The target is gone.
    Gone,
}

/// Names an attempt: one that was offered, or any.
#[derive(Clone, Debug, TypeGenerator)]
pub enum Named {
    /// One of the offers that were made.
    Offered(u8),
    /// Whatever.
    Any {
        /// Of which workflow.
        workflow: u8,
        /// Of which step.
        step: u8,
        /// Of the fence.
        epoch: u8,
        /// Of the fence.
        counter: u8,
    },
}

/// A game under way.
pub struct Game {
    bench: Bench,
    sessions: Vec<Session>,
    offers: Vec<AttemptRef>,
    hellos: u64,
}

fn workflow(n: u8) -> WorkflowId {
    WorkflowId::new(format!("m{}", n % 3)).unwrap()
}

fn step(n: u8) -> StepId {
    StepId::new(STEPS[usize::from(n) % STEPS.len()]).unwrap()
}

impl Game {
    /// An engine with a worker and a definition.
    pub async fn begin() -> Self {
        let mut game = Self {
            bench: Bench::begin().await,
            sessions: Vec::new(),
            offers: Vec::new(),
            hellos: 0,
        };
        game.play(&Move::Hello {
            worker: 0,
            process: 0,
            other_spool: false,
            held: Vec::new(),
            results: Vec::new(),
        })
        .await;
        let text = DEFINITION.to_owned();
        game.bench
            .ask(|answer| Input::Register {
                text,
                dry_run: false,
                actor: Bench::actor(),
                answer,
            })
            .await
            .unwrap();
        game.play(&Move::Start { workflow: 0 }).await;
        game
    }

    /// Plays one move.
    pub async fn play(&mut self, next: &Move) {
        match next {
            Move::Hello {
                worker,
                process,
                other_spool,
                held,
                results,
            } => {
                self.hellos += 1;
                let name = format!("golem-{}", worker % 3);
                let hello = Hello {
                    held: self.all(held),
                    unacked_results: self.all(results),
                    ..hello(&name, process % 3, u8::from(*other_spool), self.hellos, 1)
                };
                self.sessions.extend(self.bench.hello(hello).await);
            }
            Move::Frame { session, parts } => {
                if let Some(session) = self.session(*session) {
                    let frame = Box::new(self.frame(parts));
                    let session = self.sessions[session].id;
                    self.bench.tell(Input::Frame { session, frame }).await;
                }
            }
            Move::Close { session } => {
                if let Some(session) = self.session(*session) {
                    let session = self.sessions.swap_remove(session).id;
                    self.bench.tell(Input::Closed { session }).await;
                }
            }
            Move::Pass { seconds } => {
                self.bench
                    .pass(Duration::from_secs(2 * u64::from(*seconds)))
                    .await;
            }
            Move::Start { workflow: n } => self.start(*n).await,
            Move::Act {
                workflow: n,
                what,
                step,
            } => self.act(*n, *what, *step).await,
            Move::Restart => {
                self.bench.restart().await;
                self.sessions.clear();
            }
        }
        self.listen().await;
    }

    /// Waits until the engine has done what it was told, and notes what it offers.
    async fn listen(&mut self) {
        let status = self.bench.ask(|answer| Input::Status { answer }).await;
        status.unwrap();
        for word in self.sessions.iter_mut().flat_map(Session::heard) {
            if let ToWorker::Offer(workflow, offer) = word {
                self.offers.push(AttemptRef {
                    workflow,
                    step: offer.step,
                    fence: offer.fence,
                });
            }
        }
    }

    fn session(&self, n: u8) -> Option<usize> {
        let count = self.sessions.len();
        (count > 0).then(|| usize::from(n) % count)
    }

    fn all(&self, named: &[Named]) -> Vec<AttemptRef> {
        named.iter().map(|named| self.named(named)).collect()
    }

    fn named(&self, named: &Named) -> AttemptRef {
        match named {
            Named::Offered(n) if !self.offers.is_empty() => {
                // The newest ones are the most interesting.
                let back = usize::from(*n) % self.offers.len();
                self.offers[self.offers.len() - 1 - back].clone()
            }
            Named::Offered(n) => AttemptRef {
                workflow: workflow(*n),
                step: step(*n),
                fence: Fence {
                    epoch: 1,
                    counter: u64::from(*n),
                },
            },
            Named::Any {
                workflow: of,
                step: which,
                epoch,
                counter,
            } => AttemptRef {
                workflow: workflow(*of),
                step: step(*which),
                fence: Fence {
                    epoch: u64::from(epoch % 4),
                    counter: u64::from(counter % 16),
                },
            },
        }
    }

    fn frame(&self, parts: &[Part]) -> Frame {
        let mut frame = Frame::default();
        for part in parts {
            match part {
                Part::Beat(named) => {
                    let progress = Progress {
                        attempt: self.named(named),
                        progress: view::Progress::default(),
                        observing: false,
                        reports: 1,
                    };
                    frame.beat = Some((1, vec![progress]));
                }
                Part::Ack(named) => frame.acks.push(self.named(named)),
                Part::Reject(named) => {
                    let code = "no-capacity".to_owned();
                    frame.rejects.push((self.named(named), code, String::new()));
                }
                Part::Checkpoint(named, number) => {
                    let number = u64::from(*number);
                    frame
                        .checkpoints
                        .push((self.named(named), number, json!(number)));
                }
                Part::Violation(named) => {
                    let code = "seen".to_owned();
                    frame
                        .violations
                        .push((self.named(named), code, String::new()));
                }
                Part::Result(named, end) => {
                    frame.results.push((self.named(named), outcome(*end)));
                }
                Part::Credits(n) => {
                    frame.credits =
                        Some(BTreeMap::from([("light".to_owned(), u32::from(*n % 16))]));
                }
                Part::CommandAck(number) => {
                    frame
                        .command_acks
                        .push((u64::from(*number), Ok(json!(null))));
                }
            }
        }
        frame
    }

    async fn start(&self, n: u8) {
        let id = workflow(n);
        let started = self
            .bench
            .ask(|answer| {
                Input::Start(Box::new(Start {
                    id,
                    definition: "fuzzed".to_owned(),
                    version: 0,
                    input: json!({}),
                    dry_run: false,
                    actor: Bench::actor(),
                    reason: String::new(),
                    answer,
                }))
            })
            .await;
        started.expect("a start of a sound definition is never refused");
    }

    async fn act(&self, n: u8, what: u8, which: u8) {
        let step = step(which);
        let gate = StepId::new("ok").unwrap();
        let act = match what % 8 {
            0 => Act::Pause,
            1 => Act::Resume,
            2 => Act::Cancel,
            3 => Act::Terminate,
            4 => Act::Retry { step, params: None },
            5 => Act::Skip {
                step,
                output: Some(json!({})),
            },
            6 => Act::Approve {
                step: gate,
                evidence: None,
            },
            _ => Act::Reject {
                step: gate,
                evidence: None,
            },
        };
        let id = workflow(n);
        // A refusal is an answer, too.
        let done = self.bench.ask(|answer| {
            Input::Act(Box::new(ActOn {
                id,
                act,
                dry_run: false,
                actor: Bench::actor(),
                reason: "fuzz".to_owned(),
                answer,
            }))
        });
        drop(done.await);
    }

    /// Every workflow as the engine has it.
    pub async fn workflows(&self) -> Vec<view::Workflow> {
        let page: Page = self
            .bench
            .ask(|answer| Input::List {
                after: None,
                limit: 100,
                answer,
            })
            .await
            .unwrap();
        page.workflows
    }
}

fn outcome(end: End) -> Outcome {
    let failure = |certainty| Outcome::Failure {
        failure: StepFailure::new("fuzzed", certainty, "the fuzzer wants it"),
        retry_after: None,
    };
    match end {
        End::Output => Outcome::Output {
            output: json!({}),
            observed: false,
        },
        End::Observed => Outcome::Output {
            output: json!({}),
            observed: true,
        },
        End::Yielded => Outcome::Yielded,
        End::Compensated => Outcome::Compensated,
        End::Transient => failure(Certainty::Transient),
        End::Later(seconds) => Outcome::Failure {
            failure: StepFailure::new("fuzzed", Certainty::Transient, "the fuzzer wants it"),
            retry_after: Some(Duration::from_secs(seconds)),
        },
        End::Refused => failure(Certainty::Refused),
        End::Failed => failure(Certainty::Failed),
        End::Cancelled => failure(Certainty::Cancelled),
        End::Gone => failure(Certainty::Gone),
    }
}
