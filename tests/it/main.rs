//! Coordinator and workers together, over real gRPC.

#![allow(clippy::unwrap_used, reason = "tests")]

mod acts;
mod backup;
mod builds;
mod drain;
mod earlier;
mod items;
mod leases;
mod lifecycle;
mod operators;
mod outages;
mod outputs;
mod replan;
mod retention;
mod storage;
mod streams;
