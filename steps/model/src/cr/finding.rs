//! What was missing or contradictory in custom resources, and how it was understood.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation about the input that an operator should know of. Never an error: the object was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable, kebab-case.
    pub code: String,
    /// The object it is about: `AWSCluster org-acme/ab1c2`.
    pub object: String,
    /// One sentence: what is odd, and what was assumed instead.
    pub message: String,
}

impl Finding {
    /// A finding about an object.
    pub fn new(code: &str, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            object: object.into(),
            message: message.into(),
        }
    }
}
