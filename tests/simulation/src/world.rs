//! The outside: resources that steps change, by calls that take their time and may fail. Every change is noted with the
//! fence it was made under; nothing is refused here, so that the check sees what the product lets through.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use drover_ports::Caller;
use drover_step_api::{Context, Declaration, LossPolicy, Permit, StepError};
use drover_worker::ports::PortsSource;

use crate::{
    chance::Chance,
    history::{Attempt, Holder, Recorder, What},
};

/// The outside of one run.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    recorder: Recorder,
    /// The longest a call takes: shorter than what the worker keeps of a lease for calls on their way.
    call_takes: Duration,
    calm: AtomicBool,
    done: Mutex<BTreeSet<String>>,
}

impl World {
    /// Nothing is done yet. A worker gives no permit in the last fifth of a lease; calls take less.
    pub(crate) fn new(seed: u64, recorder: Recorder, lease_ttl: Duration) -> Self {
        Self(Arc::new(Inner {
            seed,
            recorder,
            call_takes: lease_ttl / 6,
            calm: AtomicBool::new(false),
            done: Mutex::new(BTreeSet::new()),
        }))
    }

    /// From here on no call fails.
    pub(crate) fn calm(&self) {
        self.0.calm.store(true, Ordering::Relaxed);
    }

    /// The ports of one process.
    pub(crate) fn desk(&self, holder: Holder) -> Arc<Desk> {
        Arc::new(Desk {
            world: self.clone(),
            holder,
        })
    }

    fn done(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.done.lock().expect("nobody panics while holding it")
    }
}

/// Gives ports to the attempts of one process.
pub(crate) struct Desk {
    world: World,
    holder: Holder,
}

#[async_trait]
impl PortsSource<Hands> for Desk {
    fn ports(&self, _: Caller, declaration: &Declaration) -> Hands {
        Hands {
            world: self.world.clone(),
            holder: self.holder.clone(),
            race_ok: declaration.loss_policy == LossPolicy::RaceOk,
            acted: Mutex::new(None),
        }
    }

    async fn refresh_credentials(&self) {}
}

/// What one attempt reaches.
pub(crate) struct Hands {
    world: World,
    holder: Holder,
    race_ok: bool,
    /// The attempt, once it has asked for a permit.
    acted: Mutex<Option<Attempt>>,
}

/// A call under way; it is over when this is dropped, also by a crash.
struct Call<'a> {
    number: u64,
    recorder: &'a Recorder,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.recorder.note(What::PermitLeft { call: self.number });
    }
}

/// How a call goes.
enum Fate {
    Well,
    FailsBefore,
    /// It happened; the answer is lost.
    FailsAfter,
    Refused,
    /// No answer comes, ever.
    Hangs,
}

impl Hands {
    /// The `n`-th change of a step: asks for a permit, then calls.
    pub(crate) async fn change(
        &self,
        ctx: &Context<Self>,
        effect: &str,
        n: u32,
    ) -> Result<(), StepError> {
        let permit = ctx.permit_for(effect, &n.to_string()).await?;
        let attempt = self.attempt(&permit);
        *self.acted() = Some(attempt.clone());
        let name = format!(
            "{}/{}/{}/{effect}/{n}",
            attempt.workflow, attempt.step, attempt.fence
        );
        let mut chance = Chance::of(self.world.0.seed, &name);
        let recorder = &self.world.0.recorder;
        let call = Call {
            number: recorder.next_call(),
            recorder,
        };
        recorder.note(What::PermitTaken {
            call: call.number,
            holder: self.holder.clone(),
            attempt: attempt.clone(),
        });
        let fate = self.fate(&mut chance);
        let takes = chance.between(Duration::from_millis(20), self.world.0.call_takes);
        match fate {
            Fate::Well | Fate::FailsAfter => {
                tokio::time::sleep(takes).await;
                recorder.note(What::Effect {
                    call: call.number,
                    resource: format!("{}/{}", attempt.workflow, attempt.step),
                    holder: self.holder.clone(),
                    attempt,
                });
            }
            Fate::FailsBefore | Fate::Refused => tokio::time::sleep(takes).await,
            // The call never reaches anybody, so no permit is in use meanwhile.
            Fate::Hangs => {
                drop(call);
                std::future::pending::<()>().await;
            }
        }
        match fate {
            Fate::Well | Fate::Hangs => Ok(()),
            Fate::FailsBefore => Err(StepError::transient("throttled", "the simulation wants it")),
            Fate::FailsAfter => Err(StepError::transient(
                "lost-reply",
                "the simulation wants it",
            )),
            Fate::Refused => Err(StepError::refused("refused", "the simulation wants it")),
        }
    }

    /// A look outside, which takes its time and may fail.
    pub(crate) async fn look(&self, ctx: &Context<Self>) -> Result<(), StepError> {
        let name = format!("look/{}/{}/{}", ctx.workflow(), ctx.step(), ctx.attempt());
        let mut chance = Chance::of(self.world.0.seed, &name);
        ctx.sleep(chance.between(Duration::from_millis(20), Duration::from_secs(8)))
            .await?;
        if chance.percent(5.0) && !self.world.0.calm.load(Ordering::Relaxed) {
            return Err(StepError::transient(
                "unreachable",
                "the simulation wants it",
            ));
        }
        Ok(())
    }

    fn acted(&self) -> std::sync::MutexGuard<'_, Option<Attempt>> {
        self.acted.lock().expect("nobody panics while holding it")
    }

    /// Everything of a step is there, or nothing any more: the last thing that its code does.
    pub(crate) fn set_done(&self, ctx: &Context<Self>, done: bool) {
        if let Some(attempt) = self.acted().clone() {
            self.world.0.recorder.note(What::Finished { attempt });
        }
        let name = format!("{}/{}", ctx.workflow(), ctx.step());
        if done {
            self.world.done().insert(name);
        } else {
            self.world.done().remove(&name);
        }
    }

    pub(crate) fn is_done(&self, ctx: &Context<Self>) -> bool {
        let name = format!("{}/{}", ctx.workflow(), ctx.step());
        self.world.done().contains(&name)
    }

    fn attempt(&self, permit: &Permit) -> Attempt {
        let stamp = permit.stamp();
        Attempt {
            workflow: stamp.workflow.clone(),
            step: stamp.step.clone(),
            fence: stamp.fence,
            race_ok: self.race_ok,
        }
    }

    fn fate(&self, chance: &mut Chance) -> Fate {
        if self.world.0.calm.load(Ordering::Relaxed) {
            return Fate::Well;
        }
        match chance.number(0, 1000) {
            0..40 => Fate::FailsBefore,
            40..80 => Fate::FailsAfter,
            80..84 => Fate::Refused,
            84..92 => Fate::Hangs,
            _ => Fate::Well,
        }
    }
}
