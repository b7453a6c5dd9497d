//! What CloudFormation knows of a stack beside its status.

/// A stack's settings, and what is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct StackDetails {
    /// Whether it cannot be deleted.
    pub(crate) protected: bool,
    /// Its template once it has been updated; until then the one that the operator made.
    pub(crate) template: Option<String>,
    /// What CloudFormation is at.
    pub(crate) work: Option<StackWork>,
}

/// What CloudFormation does to a stack that it was called to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackWork {
    Update,
    Delete,
}
