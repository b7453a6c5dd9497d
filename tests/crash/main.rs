//! What must hold when processes die: real processes of the program, a real folder, SIGKILL.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod absence;
mod fleet;
mod hundred_kills;
mod one_member;
mod secrets;
mod superseded;
mod unwinding;

/// The program under test.
const DROVER: &str = env!("CARGO_BIN_EXE_drover");
