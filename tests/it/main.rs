//! Coordinator and workers together, over real gRPC.

#![allow(clippy::unwrap_used, reason = "tests")]

mod acts;
mod backup;
mod earlier;
mod items;
mod leases;
mod lifecycle;
mod operators;
mod outages;
mod replan;
mod retention;
mod storage;
