//! The server: the shell around the pure core.

pub mod backup;
pub mod clock;
pub mod engine;
pub mod metrics;
pub mod objects;
pub mod program;
pub mod refusal;
pub mod rpc;
pub mod server;
pub mod store;
pub mod supervise;
