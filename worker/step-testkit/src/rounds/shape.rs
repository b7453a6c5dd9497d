//! Params and output as data: round trips, schemas, samples, and what may not be in them.

use std::sync::PoisonError;

use serde_json::Value;

use super::{
    bench::Bench,
    broken::{Broken, broken},
    reference::Reference,
};
use crate::{
    diff::{diff, list},
    fixture::Fixture,
    rule::Rule,
    scenario::Reparse,
    schema,
};

/// The store's limit, bytes of JSON.
const MAX_PARAMS: usize = 64 * 1024;

/// Params or output of a kind.
struct Side<'a> {
    name: &'static str,
    value: &'a Value,
    schema: &'a Value,
    reparse: Reparse,
    samples: &'a [Value],
    /// The method of the scenario that adds a sample.
    adds: &'static str,
}

impl<W: Fixture> Bench<'_, W> {
    pub(crate) async fn shape(&self, reference: &Reference) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let params = &set.params;
        let tripwire = set.stage.driver().tripwire();
        let leak = tripwire
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check_json(params);
        if let Some(leak) = leak {
            return broken(Rule::Leak, format!("the params {leak}"));
        }
        let size = params.to_string().len();
        if size > MAX_PARAMS {
            let what = format!("the params have {size} bytes; {MAX_PARAMS} are allowed");
            return broken(Rule::TooLarge, what);
        }
        Side {
            name: "params",
            value: params,
            schema: self.kind.params_schema().as_value(),
            reparse: self.scenario.reparse_params,
            samples: &self.scenario.params_samples,
            adds: "params_sample",
        }
        .check()?;
        Side {
            name: "output",
            value: &reference.output,
            schema: self.kind.output_schema().as_value(),
            reparse: self.scenario.reparse_output,
            samples: &self.scenario.output_samples,
            adds: "output_sample",
        }
        .check()
    }
}

impl Side<'_> {
    fn check(&self) -> Result<(), Broken> {
        let Self { name, value, .. } = self;
        match (self.reparse)(value) {
            Err(error) => {
                return broken(Rule::RoundTrip, format!("{name}: {error}\n{value}"));
            }
            Ok(again) => {
                let differences = diff(value, &again);
                if !differences.is_empty() {
                    let what = format!("{name} after a round trip\n{}", list(&differences));
                    return broken(Rule::RoundTrip, what);
                }
            }
        }
        if let Some(what) = schema::mismatch(self.schema, value) {
            return broken(Rule::Schema, format!("{name}: {what}\n{value}"));
        }
        if self.samples.is_empty() {
            let what = format!("add .{}(json!({value}))", self.adds);
            return broken(Rule::Sample, what);
        }
        for sample in self.samples {
            if let Err(error) = (self.reparse)(sample) {
                return broken(Rule::Sample, format!("{name}: {error}\n{sample}"));
            }
        }
        Ok(())
    }
}
