//! Coordinator and workers together, over real gRPC.

#![allow(clippy::unwrap_used, reason = "tests")]

mod acts;
mod backup;
mod earlier;
mod leases;
mod lifecycle;
mod operators;
mod outages;
mod retention;
mod storage;
