//! The no-op step kind, and definitions made of it.

use std::{fmt::Write as _, time::Duration};

use drover_proto::v1;

/// Where everything runs.
pub(super) const INSTALLATION: &str = "bench";
/// The credit class of the kind.
pub(super) const CLASS: &str = "light";
/// The registered definition.
pub(super) const DEFINITION: &str = "noop";

const KIND: &str = "bench.noop";
const VERSION: u32 = 1;

/// What a step of the kind reports.
pub(super) const OUTPUT: &[u8] = br#"{"ok":true}"#;

/// The id of the n-th step, counted from 1.
pub(crate) fn step_id(n: u32) -> String {
    format!("s{n}")
}

/// Which step an id means.
pub(crate) fn step_number(id: &str) -> Option<u32> {
    id.strip_prefix('s')?.parse().ok()
}

/// A definition of so many steps, one after the other.
pub(super) fn definition(steps: u32) -> String {
    let mut text = format!(
        "apiVersion: drover/v1\nkind: WorkflowDefinition\nmetadata: {{ name: {DEFINITION}, version: 1 }}\nspec:\n  input: {{ type: object }}\n  placement: {{ installation: {INSTALLATION} }}\n  steps:\n"
    );
    for n in 1..=steps {
        let needs = match n {
            1 => String::new(),
            _ => format!(", needs: [{}]", step_id(n - 1)),
        };
        let id = step_id(n);
        writeln!(text, "    - {{ id: {id}, uses: {KIND}/{VERSION}{needs} }}")
            .expect("a string takes everything");
    }
    text
}

/// What the worker declares. Timeouts are so long that none fires in a run.
pub(super) fn declaration() -> v1::KindDeclaration {
    let duration = |seconds| prost_types::Duration::try_from(Duration::from_secs(seconds)).ok();
    let schema = || {
        Some(v1::Json {
            text: br#"{"type":"object"}"#.to_vec(),
        })
    };
    v1::KindDeclaration {
        kind: Some(v1::KindRef {
            name: KIND.to_owned(),
            version: VERSION,
        }),
        summary: "Does nothing".to_owned(),
        role: v1::Role::Step.into(),
        class: CLASS.to_owned(),
        compensation: v1::Compensation::RollForward.into(),
        loss_policy: v1::LossPolicy::StopAtPermit.into(),
        timeouts: Some(v1::Timeouts {
            start_to_close: duration(3600),
            ..v1::Timeouts::default()
        }),
        retry: Some(v1::RetryPolicy {
            initial_interval: duration(1),
            maximum_interval: duration(10),
            backoff_coefficient: 2.0,
            maximum_attempts: 3,
            maximum_losses: 3,
        }),
        params_schema: schema(),
        output_schema: schema(),
        ..v1::KindDeclaration::default()
    }
}

#[cfg(test)]
mod tests {
    use drover_core::definition::Definition;

    use super::*;

    #[test]
    fn the_definition_is_a_chain_of_so_many_steps() {
        let definition = Definition::parse(&definition(3)).unwrap();
        let needs: Vec<&[usize]> = definition.nodes.iter().map(|node| &*node.needs).collect();
        assert_eq!(needs, [&[][..], &[0], &[1]]);
    }

    #[test]
    fn step_ids_survive_the_round_trip() {
        assert_eq!(step_number(&step_id(10)), Some(10));
        assert_eq!(step_number("x1"), None);
    }
}
