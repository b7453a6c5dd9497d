//! Declarations of step kinds from the wire.

use std::time::Duration;

use drover_core::{
    declaration::{Compensation, Effect, KindDeclaration, LossPolicy, RetryPolicy, Role, Timeouts},
    ids::KindRef,
};
use drover_proto::v1;

use crate::{
    convert,
    failure::{Failure, Outcome},
};

/// One declaration; a worker that serves it has sent it whole.
pub(crate) fn declaration(wire: v1::KindDeclaration) -> Outcome<KindDeclaration> {
    let kind = wire.kind.clone().unwrap_or_default();
    let name = format!("{}/{}", kind.name, kind.version);
    let broken = || {
        Failure::failed(format!(
            "the declaration of {name} is not one that this version understands"
        ))
    };
    let duration = |duration: Option<prost_types::Duration>| {
        duration.and_then(|found| Duration::try_from(found).ok())
    };
    let role = match wire.role() {
        v1::Role::Unspecified => return Err(broken()),
        v1::Role::Step => Role::Step,
        v1::Role::Guard => Role::Guard,
    };
    let compensation = match wire.compensation() {
        v1::Compensation::Unspecified => return Err(broken()),
        v1::Compensation::Undo => Compensation::Undo,
        v1::Compensation::RollForward => Compensation::RollForward,
        v1::Compensation::Manual => Compensation::Manual(wire.compensation_note.clone()),
    };
    let loss_policy = match wire.loss_policy() {
        v1::LossPolicy::Unspecified => return Err(broken()),
        v1::LossPolicy::StopAtPermit => LossPolicy::StopAtPermit,
        v1::LossPolicy::FinishCritical => LossPolicy::FinishCritical {
            max: duration(wire.finish_critical_max).ok_or_else(broken)?,
        },
        v1::LossPolicy::RaceOk => LossPolicy::RaceOk,
    };
    let timeouts = wire.timeouts.unwrap_or_default();
    let retry = wire.retry.ok_or_else(broken)?;
    Ok(KindDeclaration {
        kind: KindRef::parse(&name).ok_or_else(broken)?,
        summary: wire.summary,
        role,
        class: wire.class,
        reach: wire.reach,
        effects: wire
            .effects
            .into_iter()
            .map(|effect| Effect {
                name: effect.name,
                repeatable: effect.repeatable,
            })
            .collect(),
        compensation,
        loss_policy,
        timeouts: Timeouts {
            schedule_to_start: duration(timeouts.schedule_to_start),
            start_to_close: duration(timeouts.start_to_close),
            schedule_to_close: duration(timeouts.schedule_to_close),
            heartbeat: duration(timeouts.heartbeat),
        },
        retry: RetryPolicy {
            initial_interval: duration(retry.initial_interval).ok_or_else(broken)?,
            maximum_interval: duration(retry.maximum_interval).ok_or_else(broken)?,
            backoff_coefficient: retry.backoff_coefficient,
            maximum_attempts: retry.maximum_attempts,
            maximum_losses: retry.maximum_losses,
        },
        permissions: wire.permissions,
        params_schema: convert::json(wire.params_schema.as_ref()).ok_or_else(broken)?,
        output_schema: convert::json(wire.output_schema.as_ref()).ok_or_else(broken)?,
    })
}
