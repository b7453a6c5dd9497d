//! Tests of the package from outside.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod golden;
mod partition;
mod plan;
mod read;
mod stack_template;
mod target;
