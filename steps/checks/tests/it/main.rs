//! The family's checks, against worlds that were made unfit.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod first_node;
mod preflight;
#[path = "../../../capa/tests/stage/mod.rs"]
mod stage;
mod unfit;
mod watch_routes;
