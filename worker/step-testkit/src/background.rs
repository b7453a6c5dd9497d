//! An attempt that runs by itself.

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;

use crate::{levers::Levers, outcome::Outcome, recorder::Recorder};

/// An attempt that runs by itself. Dropping it is a crash of its worker.
pub struct Background {
    task: JoinSet<Outcome>,
    levers: Levers,
}

impl Background {
    pub(crate) fn new(
        recorder: &Arc<Recorder>,
        attempt: impl Future<Output = Outcome> + Send + 'static,
    ) -> Self {
        let mut task = JoinSet::new();
        task.spawn(attempt);
        let levers = Levers::new(recorder);
        Self { task, levers }
    }

    /// Levers on it.
    pub fn levers(&self) -> &Levers {
        &self.levers
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Outcome {
        let joined = self.task.join_next().await;
        joined
            .expect("the task was spawned with the set and is joined once")
            .expect("nothing aborts the task while it is joined, and a step's panic ends inside it")
    }

    /// Tells a guard that its span has ended, and waits for its end.
    pub async fn stop(self) -> Outcome {
        self.levers.stop();
        self.end().await
    }
}
