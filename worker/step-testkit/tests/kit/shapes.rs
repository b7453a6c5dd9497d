//! Outputs that are not the data that their type promises.

use drover_ports::Ports;
use drover_step_api::{Context, Declaration, Observed, Step, StepError};
use drover_step_testkit::{Conformance, Report, Round, Rule, Scenario};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    conforming::cluster,
    good::{BASE, ClusterParams},
    planted::{assert_found, registry_of},
    world::World,
};

/// Answers with whatever its output type has by default.
struct Answers<O>(fn() -> O);

impl<O> Step<Ports> for Answers<O>
where
    O: Default + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static,
{
    type Params = ClusterParams;
    type Output = O;

    const DECLARATION: Declaration = Declaration {
        name: "toy.answers",
        ..BASE
    };

    async fn pre(&self, _: &Context<Ports>, _: &ClusterParams) -> Result<(), StepError> {
        Ok(())
    }

    async fn run(&self, _: &Context<Ports>, _: &ClusterParams) -> Result<O, StepError> {
        Ok(self.0())
    }

    async fn observe(
        &self,
        _: &Context<Ports>,
        _: &ClusterParams,
    ) -> Result<Observed<O>, StepError> {
        Ok(Observed::NotDone)
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Right {
    count: u32,
}

/// Comes back from JSON as another value.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct OneWay {
    #[serde(skip_deserializing)]
    count: u32,
}

/// Its schema speaks of another field.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Parted {
    #[schemars(rename = "number")]
    #[serde(default)]
    count: u32,
}

fn walk<O>(answer: fn() -> O, params: &[Value], output: &[Value]) -> Report
where
    O: Default + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static,
{
    let mut scenario = Scenario::step::<Answers<O>>(cluster);
    for sample in params {
        scenario = scenario.params_sample(sample.clone());
    }
    for sample in output {
        scenario = scenario.output_sample(sample.clone());
    }
    Conformance::new(registry_of(Answers(answer)), World::new)
        .scenario(scenario)
        .walk("")
}

#[test]
fn an_output_that_is_what_its_type_says_passes() {
    let report = walk(
        Right::default,
        &[json!({ "cluster": "a" })],
        &[json!({ "count": 2 })],
    );
    assert!(report.is_clean(), "{report}");
}

#[test]
fn an_output_that_does_not_survive_a_round_trip_is_found() {
    let one_way = || OneWay { count: 3 };
    let report = walk(one_way, &[json!({ "cluster": "a" })], &[json!({})]);
    assert_found(&report, Round::Shape, Rule::RoundTrip);
}

#[test]
fn an_output_that_its_schema_does_not_describe_is_found() {
    let report = walk(Parted::default, &[json!({ "cluster": "a" })], &[json!({})]);
    assert_found(&report, Round::Shape, Rule::Schema);
}

#[test]
fn an_output_over_its_limit_is_found() {
    let large = || "x".repeat(drover_step_api::OUTPUT_BYTES_MAX);
    assert_found(&walk(large, &[], &[]), Round::Twice, Rule::TooLarge);
}

#[test]
fn a_kind_without_samples_is_told_what_to_add() {
    let report = walk(Right::default, &[], &[]);
    assert_found(&report, Round::Shape, Rule::Sample);
    let text = report.to_string();
    let line = r#"add .params_sample(json!({"cluster":"abc12"}))"#;
    assert!(text.contains(line), "{report}");
}

#[test]
fn a_sample_that_no_longer_parses_is_found() {
    for (params, output) in [
        (json!({ "name": "a" }), json!({ "count": 2 })),
        (json!({ "cluster": "a" }), json!({ "count": "two" })),
    ] {
        let report = walk(Right::default, &[params], &[output]);
        assert_found(&report, Round::Shape, Rule::Sample);
    }
}
