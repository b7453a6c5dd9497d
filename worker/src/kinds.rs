//! Declarations of step kinds on the wire.

use std::time::Duration;

use drover_proto::v1;
use drover_step_api::{Compensation, Declaration, ErasedStep, LossPolicy, Registry, Role};
use schemars::Schema;

/// Every kind of a registry, as a hello carries it.
#[must_use]
pub fn declarations<P: Send + Sync + 'static>(registry: &Registry<P>) -> Vec<v1::KindDeclaration> {
    registry.iter().map(|kind| declaration(&**kind)).collect()
}

fn declaration<P: Send + Sync + 'static>(kind: &dyn ErasedStep<P>) -> v1::KindDeclaration {
    let declared: Declaration = kind.declaration();
    let role = match declared.role {
        Role::Step => v1::Role::Step,
        Role::Guard => v1::Role::Guard,
    };
    let (compensation, note) = match declared.compensation {
        Compensation::Undo => (v1::Compensation::Undo, ""),
        Compensation::RollForward => (v1::Compensation::RollForward, ""),
        Compensation::Manual(note) => (v1::Compensation::Manual, note),
    };
    let (loss_policy, finish_critical_max) = match declared.loss_policy {
        LossPolicy::StopAtPermit => (v1::LossPolicy::StopAtPermit, None),
        LossPolicy::FinishCritical { max } => (v1::LossPolicy::FinishCritical, wire(Some(max))),
        LossPolicy::RaceOk => (v1::LossPolicy::RaceOk, None),
    };
    let (timeouts, retry) = (declared.timeouts, declared.retry);
    v1::KindDeclaration {
        kind: Some(v1::KindRef {
            name: declared.name.to_owned(),
            version: declared.version,
        }),
        summary: declared.summary.to_owned(),
        role: role.into(),
        class: declared.class.as_str().to_owned(),
        reach: declared
            .reach
            .iter()
            .map(|place| place.as_str().to_owned())
            .collect(),
        effects: declared
            .effects
            .iter()
            .map(|effect| v1::Effect {
                name: effect.name.to_owned(),
                repeatable: effect.repeatable,
            })
            .collect(),
        compensation: compensation.into(),
        compensation_note: note.to_owned(),
        loss_policy: loss_policy.into(),
        finish_critical_max,
        timeouts: Some(v1::Timeouts {
            schedule_to_start: wire(timeouts.schedule_to_start),
            start_to_close: wire(timeouts.start_to_close),
            schedule_to_close: wire(timeouts.schedule_to_close),
            heartbeat: wire(timeouts.heartbeat),
        }),
        retry: Some(v1::RetryPolicy {
            initial_interval: wire(Some(retry.initial_interval)),
            maximum_interval: wire(Some(retry.maximum_interval)),
            backoff_coefficient: retry.backoff_coefficient,
            maximum_attempts: retry.maximum_attempts,
            maximum_losses: retry.maximum_losses,
        }),
        permissions: declared
            .permissions
            .iter()
            .map(|&permission| permission.to_owned())
            .collect(),
        params_schema: Some(json(&kind.params_schema())),
        output_schema: Some(json(&kind.output_schema())),
    }
}

fn json(schema: &Schema) -> v1::Json {
    v1::Json {
        text: serde_json::to_vec(schema).expect("schemas serialize"),
    }
}

fn wire(duration: Option<Duration>) -> Option<prost_types::Duration> {
    duration.and_then(|duration| duration.try_into().ok())
}
