//! The adapter against a far side that answers with AWS's own documents, on loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod failing;
mod far;
mod mutations;
mod reads;
