//! The world from outside: its rules, its replay, its doors.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod by_hand;
mod determinism;
mod local;
mod rules_around;
mod rules_capi;
mod rules_control_plane;
mod rules_join;
mod rules_nodes;
mod rules_precautions;
mod rules_rollout;
mod rules_vintage;
mod served;
mod stage;
