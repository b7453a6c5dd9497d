//! The operator's command: what it prints and how it exits.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod command;
mod exit_codes;
mod formats;
mod lists;
mod operate;
mod wrong_input;
