//! How a migration goes, told on stderr while it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use drover_proto::v1;

use crate::migrate::StepTimes;

/// What the steps did when.
pub(crate) struct Story {
    begin: Instant,
    states: BTreeMap<String, v1::StepState>,
    times: Vec<StepTimes>,
    succeeded: BTreeSet<String>,
    said: String,
}

impl Story {
    pub(crate) fn new(begin: Instant) -> Self {
        Self {
            begin,
            states: BTreeMap::new(),
            times: Vec::new(),
            succeeded: BTreeSet::new(),
            said: String::new(),
        }
    }

    pub(crate) fn tell(&mut self, workflow: &v1::Workflow) {
        let now = self.begin.elapsed().as_secs_f64();
        for step in workflow.guards.iter().chain(&workflow.steps) {
            let state = step.state();
            let known = self.states.insert(step.id.clone(), state);
            let began = self.times.iter_mut().find(|times| times.id == step.id);
            match began {
                Some(times) => {
                    times.ended = if known == Some(state) {
                        times.ended
                    } else {
                        now
                    };
                    times.attempts = step.attempt;
                }
                None if step.attempt > 0 => self.times.push(StepTimes {
                    id: step.id.clone(),
                    began: now,
                    ended: now,
                    attempts: step.attempt,
                }),
                None => {}
            }
            if state == v1::StepState::Succeeded {
                self.succeeded.insert(step.id.clone());
            }
            let message = step
                .progress
                .as_ref()
                .map_or("", |progress| progress.message.as_str());
            let error = step.last_error.as_ref().map_or_else(String::new, |error| {
                format!(" (attempt {}: {})", error.attempt, error.message)
            });
            let is_guard = workflow.guards.iter().any(|guard| guard.id == step.id);
            let line = format!("{:<27} {} {message}{error}", step.id, word(state));
            if known != Some(state)
                || (step.id == self.running(workflow) && !is_guard && line != self.said)
            {
                if state != v1::StepState::Blocked {
                    say(&format!("{now:7.1} s  {line}"));
                }
                if !is_guard {
                    self.said = line;
                }
            }
        }
    }

    fn running(&self, workflow: &v1::Workflow) -> String {
        workflow.current.first().cloned().unwrap_or_default()
    }

    pub(crate) fn has_succeeded(&self, step: &str) -> bool {
        self.succeeded.contains(step)
    }

    pub(crate) fn times(self) -> Vec<StepTimes> {
        self.times
    }
}

fn word(state: v1::StepState) -> String {
    let name = state.as_str_name();
    name.trim_start_matches("STEP_STATE_").to_lowercase()
}

/// A line on stderr.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    // A closed stderr stops no migration.
    drop(writeln!(anstream::stderr(), "{line}"));
}
