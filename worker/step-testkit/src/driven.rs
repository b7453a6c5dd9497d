//! One step over all its attempts.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drover_ports::{Caller, Ports};
use drover_step_api::{
    Declaration, ErasedStep, Fence, Role,
    runtime::{self, Attempt},
};
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::{
    driver::Shared,
    fault::Script,
    host::{Durable, KitHost},
    outcome::{End, Mode, Outcome},
    recorder::Recorder,
    running::Running,
    tap::Tap,
};

/// An observation has this long on the domain clock: it reads, and waits for nothing.
const OBSERVE_LIMIT: Duration = Duration::from_secs(600);

/// One step of the workflow over all its attempts, with what the coordinator keeps of it: the newest checkpoint and
/// the output.
pub struct DrivenStep {
    shared: Arc<Shared>,
    kind: Arc<dyn ErasedStep<Ports>>,
    id: String,
    params: Value,
    durable: Arc<Mutex<Durable>>,
}

impl DrivenStep {
    pub(crate) fn new(
        shared: Arc<Shared>,
        kind: Arc<dyn ErasedStep<Ports>>,
        id: &str,
        params: Value,
    ) -> Self {
        Self {
            shared,
            kind,
            id: id.to_owned(),
            params,
            durable: Arc::default(),
        }
    }

    /// The next attempt, to its end.
    pub async fn run(&self) -> Outcome {
        self.start(Mode::Run).end().await
    }

    /// What the world says about the step.
    pub async fn observe(&self) -> Outcome {
        self.start(Mode::Observe).end().await
    }

    /// The next attempt to take it back, to its end.
    pub async fn compensate(&self) -> Outcome {
        self.start(Mode::Compensate).end().await
    }

    /// The next attempt, not yet moving: with levers on it.
    pub fn start(&self, mode: Mode) -> Running {
        self.launch(mode, Script::Undisturbed)
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Option<Value> {
        self.durable().checkpoint.clone()
    }

    /// The output, once an attempt that still counted was done.
    pub fn output(&self) -> Option<Value> {
        self.durable().output.clone()
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn launch(&self, mode: Mode, script: Script) -> Running {
        let shared = &self.shared;
        let declaration = self.kind.declaration();
        // An observation holds no lease: it speaks with the newest fence there is.
        let fence = shared.fence(mode != Mode::Observe);
        let attempt = self.identity(mode, fence);
        let number = attempt.number;
        let recorder = Arc::new(Recorder::new(Arc::clone(&shared.clock)));
        let tap = Tap {
            inner: Arc::clone(&shared.door),
            script,
            recorder: Arc::clone(&recorder),
            tripwire: Arc::clone(&shared.tripwire),
        };
        let caller = Caller {
            installation: shared.installation.clone(),
            kind: format!("{}/{}", declaration.name, declaration.version),
            workflow: shared.workflow.clone(),
            step: self.id.clone(),
            attempt: number,
            // Another attempt is another worker: nothing may depend on being the same process.
            worker: format!("worker-{number}"),
        };
        let host = KitHost {
            mode,
            script,
            recorder: Arc::clone(&recorder),
            durable: Arc::clone(&self.durable),
        };
        let ports = Ports::new(Arc::new(tap), caller, declaration.permissions);
        let ctx = runtime::context(Arc::new(ports), &declaration, attempt, Arc::new(host));
        let kind = Arc::clone(&self.kind);
        let params = self.params.clone();
        let future = async move {
            let end = match mode {
                Mode::Run => kind.run(&ctx, params).await.map(End::Done),
                Mode::Observe => kind.observe(&ctx, params).await.map(End::Observed),
                Mode::Compensate => kind
                    .compensate(&ctx, params)
                    .await
                    .map(|()| End::Compensated),
            };
            end.unwrap_or_else(End::Stopped)
        };
        let started = recorder.clock().now();
        Running {
            attempt: Some(Box::pin(AssertUnwindSafe(future).catch_unwind())),
            recorder,
            durable: Arc::clone(&self.durable),
            tripwire: Arc::clone(&shared.tripwire),
            mode,
            number,
            fence,
            started,
            limit: limit(&declaration, mode),
        }
    }

    fn identity(&self, mode: Mode, fence: Fence) -> Attempt {
        let mut durable = self.durable();
        let number = match mode {
            Mode::Run => {
                durable.runs += 1;
                durable.runs
            }
            Mode::Observe => durable.runs,
            Mode::Compensate => {
                durable.undos += 1;
                durable.undos
            }
        };
        let workflow = &self.shared.workflow;
        Attempt {
            workflow: workflow.clone(),
            step: self.id.clone(),
            number,
            fence,
            idempotency_prefix: format!("{workflow}/{}/1", self.id),
            compensating: mode == Mode::Compensate,
            checkpoint: durable.checkpoint.clone(),
            output: durable.output.clone().filter(|_| mode == Mode::Compensate),
        }
    }

    fn durable(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limit(declaration: &Declaration, mode: Mode) -> Option<Duration> {
    let declared = declaration.timeouts.start_to_close;
    match (mode, declaration.role) {
        (Mode::Observe, _) => Some(OBSERVE_LIMIT),
        // A guard's compensation is a step like any other; the declaration only speaks of its run.
        (Mode::Compensate, Role::Guard) => Some(declared.unwrap_or(OBSERVE_LIMIT)),
        (Mode::Run | Mode::Compensate, _) => declared,
    }
}
