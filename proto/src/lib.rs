//! The wire contract of Drover.
//!
//! * [`v1`]: the operator API (workflows, definitions, fleet, administration) and the worker session. Published: a
//!   worker or a client in any language that speaks `proto/drover/v1` is a full one.
//! * [`world`]: the simulated world's door, spoken on loopback by `drover dev` and by tests only.
//!
//! Everything here is generated from the `.proto` files beside this crate; their comments say unit, range and sender
//! of every field. No hand-written logic lives here.

/// `drover.v1`, generated.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("drover.v1");
}

/// `world.v1`, generated.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
pub mod world {
    tonic::include_proto!("world.v1");
}

/// The encoded `FileDescriptorSet` of both packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
