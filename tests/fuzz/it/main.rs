//! Fuzz targets, run for a while by every `cargo test`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod definitions;
mod sessions;
mod spool;
mod streams;
