//! The definition and its kinds, played as a whole against the simulated world.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod after_care;
mod around;
mod customer;
mod definition;
mod faults;
mod lab;
mod left_out;
mod masters;
mod mishaps;
mod pools;
#[path = "../stage/mod.rs"]
mod stage;
mod unwinding;
mod whole;
