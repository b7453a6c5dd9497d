//! Commands that the coordinator pushes.

use std::time::Duration;

use drover_proto::v1::{self, command::Command};
use drover_step_api::runtime::Signal;

use super::{Agent, Input, read};

impl<P: Send + Sync + 'static> Agent<P> {
    pub(super) fn command(&mut self, command: v1::Command) {
        let id = command.id;
        let mut ack = v1::CommandAck {
            command: id,
            answer: None,
            failure: None,
        };
        match command.command {
            None => {
                ack.failure = Some(failure(
                    "unknown-command",
                    "this build does not know the command",
                ))
            }
            Some(Command::Cancel(cancel)) => {
                if let Some(key) = read(cancel.attempt.as_ref())
                    && let Some(running) = self.running(&key)
                {
                    running.raise(Signal::Cancel);
                    let grace = cancel
                        .grace
                        .and_then(|grace| Duration::try_from(grace).ok())
                        .unwrap_or_default();
                    tracing::info!(
                        workflow = key.workflow,
                        step = key.step,
                        reason = cancel.reason,
                        "an attempt is asked to stop"
                    );
                    self.abort_after(key, grace);
                }
            }
            Some(Command::Pause(attempt)) => {
                self.signal(&attempt, |running| running.raise(Signal::Pause))
            }
            Some(Command::Resume(attempt)) => self.signal(&attempt, |running| {
                running.signal.send_if_modified(|signal| {
                    let paused = *signal == Signal::Pause;
                    if paused {
                        *signal = Signal::Go;
                    }
                    paused
                });
            }),
            Some(Command::Stop(attempt)) => {
                self.signal(&attempt, |running| running.raise(Signal::Stop))
            }
            Some(Command::Superseded(attempt)) => {
                if let Some(key) = read(Some(&attempt)) {
                    self.supersede(&key);
                }
            }
            Some(Command::Drain(v1::DrainWorkerCommand { exit: false })) => {
                tracing::info!("draining: the coordinator offers nothing new");
            }
            Some(Command::Drain(v1::DrainWorkerCommand { exit: true })) => {
                tracing::info!("drained: nothing is left to finish here");
                self.begin_to_stop();
            }
            Some(Command::RefreshCredentials(v1::RefreshCredentials {})) => {
                let (ports, inputs) = (self.ports.clone(), self.inputs.clone());
                self.helpers.spawn(async move {
                    ports.refresh_credentials().await;
                    drop(inputs.send(Input::Answer(ack)));
                });
                return;
            }
            Some(Command::SetLogLevel(level)) => {
                if let Err(why) = (self.config.set_log_level)(&level.level) {
                    ack.failure = Some(failure("bad-log-level", &why));
                }
            }
            Some(Command::DumpState(v1::DumpState {})) => {
                let text = serde_json::to_vec(&self.dump()).expect("JSON values serialize");
                ack.answer = Some(v1::Json { text });
            }
        }
        self.pending.command_acks.push(ack);
    }

    fn signal(&mut self, attempt: &v1::AttemptRef, change: impl FnOnce(&super::Running)) {
        if let Some(key) = read(Some(attempt))
            && let Some(running) = self.running(&key)
        {
            change(running);
        }
    }
}

fn failure(code: &str, message: &str) -> v1::Failure {
    v1::Failure {
        code: code.to_owned(),
        certainty: v1::Certainty::Refused.into(),
        message: message.to_owned(),
        attempt: 0,
        retry_after: None,
    }
}
