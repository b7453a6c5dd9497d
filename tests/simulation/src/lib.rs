//! The whole system in one thread and on virtual time, with faults drawn from one seed.
//!
//! The real coordinator (gRPC, engine, core), real workers with toy kinds, and an operator talk over a simulated network.
//! The seed decides everything: who does what and when, which faults come, how long messages travel. The same seed gives
//! the same history, byte for byte.
//!
//! What happened is judged afterwards by [`check`], from what was recorded ([`history`]) and from what the disk holds.

#![allow(
    clippy::missing_panics_doc,
    reason = "test support: a panic is a failed run"
)]

pub mod chance;
pub mod check;
mod clock;
mod coordinator;
mod disk;
pub mod evidence;
pub mod faults;
pub mod history;
mod kinds;
mod links;
mod net;
mod operator;
pub mod report;
mod run;
pub mod scenario;
mod worker;
mod world;

pub use run::{Outcome, run, run_broken};
