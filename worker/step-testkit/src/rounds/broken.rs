//! What a round found.

use crate::rule::Rule;

/// A rule that a round found broken.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) detail: String,
}

impl Broken {
    /// Says first where it was found.
    pub(crate) fn at(self, place: String) -> Self {
        let detail = format!("{place}\n{}", self.detail);
        Self { detail, ..self }
    }
}

pub(crate) fn broken<T>(rule: Rule, detail: impl Into<String>) -> Result<T, Broken> {
    Err(Broken {
        rule,
        detail: detail.into(),
    })
}
