//! Filters: CEL over the JSON that people see.

use cel::{Context, Program};
use serde_json::Value;

/// A compiled filter. Every top-level field of the JSON is a variable: `state == "Running" && cluster.startsWith("c")`.
pub struct Query {
    program: Option<Program>,
    source: String,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query {source_text:?} is not CEL: {message}")]
pub struct QueryError {
    source_text: String,
    message: String,
}

impl Query {
    /// Compiles a filter; an empty one lets everything through.
    ///
    /// # Errors
    /// When it is not CEL.
    pub fn compile(source: &str) -> Result<Self, QueryError> {
        let source = source.trim().to_owned();
        if source.is_empty() {
            return Ok(Self {
                program: None,
                source,
            });
        }
        match Program::compile(&source) {
            Ok(program) => Ok(Self {
                program: Some(program),
                source,
            }),
            Err(errors) => {
                let message = errors
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or("not CEL")
                    .to_owned();
                Err(QueryError {
                    source_text: source,
                    message,
                })
            }
        }
    }

    /// True when everything passes, without a look.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.program.is_none()
    }

    /// Whether a JSON object passes.
    ///
    /// # Errors
    /// When the filter has no value for it, or one that is neither true nor false.
    pub fn matches(&self, object: &Value) -> Result<bool, QueryError> {
        let Some(program) = &self.program else {
            return Ok(true);
        };
        let error = |message: String| QueryError {
            source_text: self.source.clone(),
            message,
        };
        let mut context = Context::default();
        for (key, value) in object.as_object().into_iter().flatten() {
            context
                .add_variable(key.as_str(), value)
                .map_err(|problem| error(problem.to_string()))?;
        }
        let value = program
            .execute(&context)
            .map_err(|problem| error(problem.to_string()))?;
        match value.json() {
            Ok(Value::Bool(passes)) => Ok(passes),
            Ok(other) => Err(error(format!("it must be true or false and is {other}"))),
            Err(problem) => Err(error(problem.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_sees_the_fields_of_the_json() {
        let object =
            json!({"state": "Running", "cluster": "c0001", "steps": [{"id": "a", "attempt": 3}]});
        for (query, passes) in [
            ("", true),
            ("state == 'Running' && cluster.startsWith('c')", true),
            ("steps.exists(s, s.attempt > 2)", true),
            ("state == 'Paused'", false),
        ] {
            assert_eq!(
                Query::compile(query).unwrap().matches(&object),
                Ok(passes),
                "{query}"
            );
        }
        assert!(Query::compile("state ==").is_err());
        assert!(
            Query::compile("nope == 1")
                .unwrap()
                .matches(&object)
                .is_err()
        );
        assert!(Query::compile("cluster").unwrap().matches(&object).is_err());
    }
}
