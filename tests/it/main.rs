//! Coordinator and workers together, over real gRPC.

#![allow(clippy::unwrap_used, reason = "tests")]

mod acts;
mod builds;
mod drain;
mod leases;
mod lifecycle;
mod operators;
mod outages;
mod outputs;
mod storage;
mod streams;
