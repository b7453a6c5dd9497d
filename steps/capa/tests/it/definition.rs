//! The definition as the coordinator reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_core::{
    declaration::{Compensation, Effect, KindDeclaration, LossPolicy, RetryPolicy, Role, Timeouts},
    definition::{Definition, Kinds},
    ids::KindRef,
};
use drover_step_api as api;
use drover_steps_capa::{AWS_AFTER_CARE, AWS_LIVE_MIGRATION, DEFINITIONS};
use serde_json::json;

use crate::stage::{Migration, Town, kinds};

/// The most that params may have as JSON, in bytes.
const PARAMS_BYTES_MAX: usize = 64 << 10;

/// The most that an output may have as JSON, in bytes.
const OUTPUT_BYTES_MAX: usize = 256 << 10;

#[test]
fn the_definitions_are_sound() {
    for text in DEFINITIONS {
        let definition = Definition::parse(text).unwrap();
        assert_eq!(definition.validate(&declared()), [], "{}", definition.name);
    }
}

#[test]
fn every_kind_of_the_families_is_used_and_no_other() {
    let definitions = DEFINITIONS.map(|text| Definition::parse(text).unwrap());
    let used: BTreeSet<String> = definitions
        .iter()
        .flat_map(|definition| definition.kinds().map(ToString::to_string))
        .collect();
    let served = declared();
    let served: BTreeSet<String> = served.keys().map(ToString::to_string).collect();
    assert_eq!(used, served);
}

#[test]
fn environments_other_than_production_need_no_approval() {
    let definition = Definition::parse(AWS_LIVE_MIGRATION).unwrap();
    let gate = definition.index_of("approve-point-of-no-return").unwrap();
    let when = definition.nodes[gate].when.as_ref().unwrap();
    for (input, expected) in [
        (json!({ "environment": "prod" }), true),
        (json!({ "environment": "staging" }), false),
        (json!({}), false),
    ] {
        let scope = Input(input);
        assert_eq!(when.evaluate(&scope).unwrap(), json!(expected));
    }
}

#[test]
fn a_test_cluster_asks_nobody_about_its_issuers() {
    let definition = Definition::parse(AWS_AFTER_CARE).unwrap();
    for gate in ["customer-trusts-both-issuers", "nobody-uses-old-tokens"] {
        let node = &definition.nodes[definition.index_of(gate).unwrap()];
        let when = node.when.as_ref().unwrap();
        for (input, expected) in [
            (json!({ "environment": "prod" }), true),
            (json!({}), true),
            (json!({ "environment": "test" }), false),
        ] {
            let scope = Input(input);
            assert_eq!(when.evaluate(&scope).unwrap(), json!(expected), "{gate}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn params_and_outputs_stay_far_below_their_limits() {
    let mut migration = Migration::of(Town::many_pools());
    migration.play().await;
    for id in migration.ids() {
        let params = serde_json::to_vec(&migration.params(&id)).unwrap().len();
        assert!(params < PARAMS_BYTES_MAX / 2, "{id}: {params} bytes");
        if migration.has_output(&id) {
            let output = serde_json::to_vec(migration.output(&id)).unwrap().len();
            assert!(output < OUTPUT_BYTES_MAX / 4, "{id}: {output} bytes");
        }
    }
}

struct Input(serde_json::Value);

impl drover_core::expr::Scope for Input {
    fn input(&self) -> &serde_json::Value {
        &self.0
    }

    fn output(&self, _: &str) -> Option<&serde_json::Value> {
        None
    }
}

/// The families' declarations, as a coordinator knows them from its workers.
fn declared() -> Kinds {
    let mut declared = BTreeMap::new();
    for kind in kinds().iter() {
        let api::Declaration {
            name,
            version,
            summary,
            role,
            class,
            reach,
            effects,
            compensation,
            loss_policy,
            timeouts,
            retry,
            permissions,
        } = kind.declaration();
        let kind_ref = KindRef::parse(&format!("{name}/{version}")).unwrap();
        let declaration = KindDeclaration {
            kind: kind_ref.clone(),
            summary: summary.to_owned(),
            role: match role {
                api::Role::Step => Role::Step,
                api::Role::Guard => Role::Guard,
            },
            class: class.as_str().to_owned(),
            reach: reach
                .iter()
                .map(|place| place.as_str().to_owned())
                .collect(),
            effects: effects
                .iter()
                .map(|effect| Effect {
                    name: effect.name.to_owned(),
                    repeatable: effect.repeatable,
                })
                .collect(),
            compensation: match compensation {
                api::Compensation::Undo => Compensation::Undo,
                api::Compensation::RollForward => Compensation::RollForward,
                api::Compensation::Manual(what) => Compensation::Manual(what.to_owned()),
            },
            loss_policy: match loss_policy {
                api::LossPolicy::StopAtPermit => LossPolicy::StopAtPermit,
                api::LossPolicy::FinishCritical { max } => LossPolicy::FinishCritical { max },
                api::LossPolicy::RaceOk => LossPolicy::RaceOk,
            },
            timeouts: Timeouts {
                schedule_to_start: timeouts.schedule_to_start,
                start_to_close: timeouts.start_to_close,
                schedule_to_close: timeouts.schedule_to_close,
                heartbeat: timeouts.heartbeat,
            },
            retry: RetryPolicy {
                initial_interval: retry.initial_interval,
                maximum_interval: retry.maximum_interval,
                backoff_coefficient: retry.backoff_coefficient,
                maximum_attempts: retry.maximum_attempts,
                maximum_losses: retry.maximum_losses,
            },
            permissions: permissions.iter().map(|&name| name.to_owned()).collect(),
            params_schema: kind.params_schema().to_value(),
            output_schema: kind.output_schema().to_value(),
        };
        declared.insert(kind_ref, Arc::new(declaration));
    }
    declared
}
