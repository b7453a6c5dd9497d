//! Attempts under way: begin, watch over, end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use drover_ports::Caller;
use drover_proto::v1;
use drover_step_api::{
    Declaration, Role,
    runtime::{self, Attempt, Report, Signal},
};
use serde_json::Value;
use tokio::{
    sync::{oneshot, watch},
    task::{AbortHandle, Id, JoinError},
    time::Instant,
};

use super::{Agent, Input, read, wire};
use crate::{
    execute::{self, Ended, Work},
    host::{Acked, AttemptHost, FromAttempt, Reported},
    link,
    spool::{AttemptKey, Certainty, Outcome, SpoolError},
    surroundings::Dial,
};

/// How long an attempt that no longer counts may take to notice.
const SUPERSEDED_GRACE: Duration = Duration::from_secs(1);

/// An attempt under way.
pub(super) struct Running {
    pub(super) key: AttemptKey,
    pub(super) kind: String,
    pub(super) role: Role,
    pub(super) critical: bool,
    pub(super) signal: watch::Sender<Signal>,
    pub(super) acked: watch::Sender<Acked>,
    pub(super) reported: Arc<Mutex<Reported>>,
    pub(super) checkpoints: BTreeMap<u64, (Value, oneshot::Sender<bool>)>,
    pub(super) began: Instant,
    abort: AbortHandle,
    /// A newer offer of the same step, which begins when this attempt has ended.
    next: Option<Box<v1::Offer>>,
}

impl Running {
    fn slot(&self) -> (String, String) {
        (self.key.workflow.clone(), self.key.step.clone())
    }

    /// Raises the signal; it never falls back except from a pause.
    pub(super) fn raise(&self, to: Signal) {
        self.signal.send_if_modified(|signal| {
            let raises = to > *signal;
            if raises {
                *signal = to;
            }
            raises
        });
    }
}

impl<P: Send + Sync + 'static> Agent<P> {
    /// Takes an offer: acks it and begins, or says why not.
    pub(super) fn offer(&mut self, offer: v1::Offer) {
        let Some(key) = read(offer.attempt.as_ref()) else {
            return;
        };
        let slot = (key.workflow.clone(), key.step.clone());
        if let Some(running) = self.attempts.get_mut(&slot) {
            if running.key == key {
                self.pending.acks.push(v1::OfferAck {
                    attempt: offer.attempt,
                });
            } else if running.key.fence < key.fence {
                running.next = Some(Box::new(offer));
                let old = running.key.clone();
                self.supersede(&old);
            }
            return;
        }
        let reject = |code: &str, message: String| v1::OfferReject {
            attempt: offer.attempt.clone(),
            code: code.to_owned(),
            message,
        };
        let kind = offer.kind.clone().unwrap_or_default();
        let Some(step) = self.registry.get(&kind.name, kind.version).cloned() else {
            let message = format!("this build does not serve {}/{}", kind.name, kind.version);
            return self.pending.rejects.push(reject("unknown-kind", message));
        };
        let Some(params) = json(offer.params.as_ref()) else {
            return self.pending.rejects.push(reject(
                "bad-offer",
                "the parameters are not JSON".to_owned(),
            ));
        };
        let declaration = step.declaration();
        let compensate = offer.mode() == v1::OfferMode::Compensate;
        let (signal, signals) = watch::channel(Signal::Go);
        let (acked, acks) = watch::channel(Acked::Pending);
        let reported = Arc::new(Mutex::new(Reported {
            observing: offer.observe_first,
            ..Reported::default()
        }));
        let host = AttemptHost {
            key: key.clone(),
            leases: Arc::clone(&self.leases),
            extra: extra(&offer),
            acked: acks,
            signal: signals,
            reported: Arc::clone(&reported),
            checkpoints: AtomicU64::new(0),
            to_agent: self.to_agent(),
            clock: Arc::clone(&self.clock),
        };
        let mut attempt = Attempt {
            workflow: key.workflow.clone(),
            step: key.step.clone(),
            number: offer.number,
            fence: key.fence,
            idempotency_prefix: offer.idempotency_prefix.clone(),
            compensating: compensate,
            checkpoint: json(offer.checkpoint.as_ref()),
            output: json(offer.output.as_ref()),
        };
        let ports = Arc::new(
            self.ports
                .ports(self.caller(&key, &declaration, offer.number), &declaration),
        );
        let work = Work {
            compensate,
            observe_first: offer.observe_first,
            params,
        };
        let (coordinator, large) = (self.config.coordinator.clone(), offer.output_object.clone());
        let dial = Arc::clone(&self.dial);
        let reports = Arc::clone(&reported);
        let abort = self.tasks.spawn(async move {
            if let Some(object) = large {
                match fetch(&*dial, coordinator, object).await {
                    Ok(output) => attempt.output = Some(output),
                    Err(failure) => return Some(Ended::So(failure)),
                }
            }
            let context = runtime::context(ports, &declaration, attempt, Arc::new(host));
            execute::execute(step, context, work, reports).await
        });
        self.by_task.insert(abort.id(), key.clone());
        self.pending.acks.push(v1::OfferAck {
            attempt: offer.attempt.clone(),
        });
        tracing::info!(workflow = key.workflow, step = key.step, fence = %key.fence, kind = declaration.name, "an attempt begins");
        let running = Running {
            key,
            kind: format!("{}/{}", declaration.name, declaration.version),
            role: if compensate {
                Role::Step
            } else {
                declaration.role
            },
            critical: offer.loss_policy() == v1::LossPolicy::FinishCritical,
            signal,
            acked,
            reported,
            checkpoints: BTreeMap::new(),
            began: Instant::now(),
            abort,
            next: None,
        };
        self.attempts.insert(slot, running);
    }

    fn caller(&self, key: &AttemptKey, declaration: &Declaration, attempt: u32) -> Caller {
        Caller {
            installation: self.config.installation.clone(),
            kind: format!("{}/{}", declaration.name, declaration.version),
            workflow: key.workflow.clone(),
            step: key.step.clone(),
            attempt,
            worker: self.config.id.clone(),
        }
    }

    fn to_agent(&self) -> tokio::sync::mpsc::UnboundedSender<FromAttempt> {
        // Attempts speak in their own words; a small task puts them into the one queue, in order.
        let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
        let inputs = self.inputs.clone();
        self.helpers.spawn(async move {
            while let Some(message) = from.recv().await {
                if inputs.send(Input::Attempt(message)).is_err() {
                    return;
                }
            }
        });
        to
    }

    /// The attempt under this very lease.
    pub(super) fn running(&mut self, key: &AttemptKey) -> Option<&mut Running> {
        self.attempts
            .get_mut(&(key.workflow.clone(), key.step.clone()))
            .filter(|running| running.key == *key)
    }

    pub(super) fn attempt_said(&mut self, message: FromAttempt) {
        match message {
            FromAttempt::Checkpoint(key, number, data, answer) => {
                let message = checkpoint(&key, number, &data);
                if let Some(running) = self.running(&key) {
                    running.checkpoints.insert(number, (data, answer));
                    self.pending.checkpoints.push(message);
                }
            }
            FromAttempt::Violation(key, code, message) => {
                if self.running(&key).is_some() {
                    self.pending.violations.push(v1::Violation {
                        attempt: Some(wire(&key)),
                        code,
                        message,
                    });
                }
            }
        }
    }

    /// Acks that were sent on a link that is gone.
    pub(super) fn repeat_acks(&mut self) {
        for running in self.attempts.values() {
            if *running.acked.borrow() == Acked::Pending {
                self.pending.acks.push(v1::OfferAck {
                    attempt: Some(wire(&running.key)),
                });
            }
        }
    }

    /// Checkpoints that were sent on a link that is gone.
    pub(super) fn repeat_checkpoints(&mut self) {
        for running in self.attempts.values() {
            for (number, (data, _)) in &running.checkpoints {
                self.pending
                    .checkpoints
                    .push(checkpoint(&running.key, *number, data));
            }
        }
    }

    /// The attempt no longer counts: it may do nothing more, and nobody wants its outcome.
    pub(super) fn supersede(&mut self, key: &AttemptKey) {
        let Some(running) = self.running(key) else {
            return;
        };
        running.raise(Signal::Superseded);
        tracing::warn!(workflow = key.workflow, step = key.step, fence = %key.fence, "an attempt was superseded");
        self.abort_after(key.clone(), SUPERSEDED_GRACE);
    }

    /// Drops the attempt where it stands unless it ends by itself before.
    pub(super) fn abort_after(&self, key: AttemptKey, grace: Duration) {
        let inputs = self.inputs.clone();
        self.helpers.spawn(async move {
            tokio::time::sleep(grace).await;
            drop(inputs.send(Input::Abort(key)));
        });
    }

    pub(super) fn abort(&mut self, key: &AttemptKey) {
        if let Some(running) = self.running(key) {
            running.abort.abort();
        }
    }

    pub(super) fn abort_all(&mut self) {
        for running in self.attempts.values() {
            running.raise(Signal::Cancel);
            running.abort.abort();
        }
    }

    /// An attempt's task has ended: by itself, or because it was dropped.
    pub(super) fn task_ended(
        &mut self,
        ended: Result<(Id, Option<Ended>), JoinError>,
    ) -> Result<(), SpoolError> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            // A panic is caught inside; only an abort ends here.
            Err(error) => {
                let dropped = Outcome::Failure {
                    code: "dropped".to_owned(),
                    certainty: Certainty::Cancelled,
                    message: "the attempt did not stop in time and was dropped where it stood"
                        .to_owned(),
                    retry_after_ms: None,
                };
                (error.id(), Some(Ended::So(dropped)))
            }
        };
        let Some(key) = self.by_task.remove(&id) else {
            return Ok(());
        };
        let Some(running) = self
            .attempts
            .remove(&(key.workflow.clone(), key.step.clone()))
        else {
            return Ok(());
        };
        let superseded = *running.signal.borrow() == Signal::Superseded;
        match outcome.filter(|_| !superseded) {
            Some(ended) => {
                let outcome = match ended {
                    Ended::So(outcome) => outcome,
                    Ended::Large {
                        text,
                        object,
                        observed,
                    } => {
                        self.spool.put_object(&object, &text)?;
                        Outcome::Object { object, observed }
                    }
                };
                self.metrics.ended(word(&outcome));
                tracing::info!(workflow = key.workflow, step = key.step, fence = %key.fence, outcome = word(&outcome), "an attempt ended");
                self.spool.put(key.clone(), outcome.clone())?;
                self.send_result(key, outcome)?;
            }
            None => self.metrics.ended("superseded"),
        }
        if let Some(offer) = running.next {
            self.offer(*offer);
        }
        if self.stopping.is_some() {
            self.stop_guards();
        }
        Ok(())
    }

    /// Takes nothing new; lets attempts end at their next safe point.
    pub(super) fn begin_to_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        tracing::info!(
            attempts = self.attempts.len(),
            "stopping: attempts end or go back"
        );
        self.stopping = Some(Instant::now() + self.config.drain);
        self.pending.credits = Some(v1::Credits::default());
        for running in self.attempts.values() {
            if running.role == Role::Step && !running.critical {
                running.raise(Signal::Pause);
            }
        }
        self.stop_guards();
    }

    /// Guards stay until everything they may guard here has ended.
    fn stop_guards(&mut self) {
        if self
            .attempts
            .values()
            .any(|running| running.role == Role::Step)
        {
            return;
        }
        for running in self.attempts.values() {
            running.raise(Signal::Cancel);
        }
    }

    /// What changed since the last beat.
    pub(super) fn changed_progress(&mut self) -> Vec<v1::AttemptProgress> {
        let mut changed = Vec::new();
        for running in self.attempts.values() {
            let mut reported = running
                .reported
                .lock()
                .expect("nobody panics while holding a report");
            if !std::mem::take(&mut reported.changed) {
                continue;
            }
            let Report {
                done,
                total,
                message,
            } = reported.report.clone();
            changed.push(v1::AttemptProgress {
                attempt: Some(wire(&running.key)),
                progress: Some(v1::Progress {
                    done,
                    total,
                    message,
                    at: None,
                }),
                observing: reported.observing,
                reports: reported.reports,
            });
        }
        changed
    }

    /// What the worker holds and does, for an operator.
    pub(super) fn dump(&self) -> Value {
        let attempts: Vec<Value> = self
            .attempts
            .values()
            .map(|running| {
                let reported = running
                    .reported
                    .lock()
                    .expect("nobody panics while holding a report");
                let (workflow, step) = running.slot();
                serde_json::json!({
                    "workflow": workflow,
                    "step": step,
                    "kind": running.kind,
                    "fence": running.key.fence.to_string(),
                    "signal": format!("{:?}", *running.signal.borrow()),
                    "acked": *running.acked.borrow() == Acked::Confirmed,
                    "running_for_s": running.began.elapsed().as_secs(),
                    "reports": reported.reports,
                    "message": reported.report.message,
                })
            })
            .collect();
        serde_json::json!({
            "worker": self.config.id,
            "build": self.config.build,
            "incarnation": self.incarnation,
            "epoch": self.spool.epoch(),
            "stream_generation": self.generation,
            "lease_age_ms": self.leases.age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            "unacked_results": self.spool.unacked().len(),
            "stopping": self.stopping.is_some(),
            "attempts": attempts,
        })
    }
}

/// The large output that a compensation is given. Without it nothing begins.
async fn fetch(
    dial: &dyn Dial,
    coordinator: tonic::transport::Uri,
    object: v1::ObjectRef,
) -> Result<Value, Outcome> {
    let fetched = link::fetch(dial, coordinator, object).await;
    let value = fetched.map_err(|status| status.message().to_owned());
    value.map_err(|why| Outcome::Failure {
        code: "output-unreadable".to_owned(),
        certainty: Certainty::Transient,
        message: format!("the step's large output did not come: {why}"),
        retry_after_ms: None,
    })
}

/// How long permits go on beyond the TTL while the lease is unknown.
fn extra(offer: &v1::Offer) -> Duration {
    let critical = (offer.loss_policy() == v1::LossPolicy::FinishCritical)
        .then_some(offer.finish_critical_max)
        .flatten();
    critical
        .or(offer.autonomy)
        .and_then(|duration| Duration::try_from(duration).ok())
        .unwrap_or_default()
}

fn json(json: Option<&v1::Json>) -> Option<Value> {
    serde_json::from_slice(&json?.text).ok()
}

fn checkpoint(key: &AttemptKey, number: u64, data: &Value) -> v1::Checkpoint {
    let text = serde_json::to_vec(data).expect("JSON values serialize");
    v1::Checkpoint {
        attempt: Some(wire(key)),
        number,
        data: Some(v1::Json { text }),
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Output { observed: true, .. } | Outcome::Object { observed: true, .. } => {
            "observed-done"
        }
        Outcome::Output {
            observed: false, ..
        }
        | Outcome::Object {
            observed: false, ..
        } => "succeeded",
        Outcome::Failure {
            certainty: Certainty::Cancelled,
            ..
        } => "cancelled",
        Outcome::Failure { .. } => "failed",
        Outcome::Yielded => "yielded",
        Outcome::Compensated => "compensated",
    }
}
