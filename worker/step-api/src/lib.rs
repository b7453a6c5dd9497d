//! What a step kind is written against.
//!
//! A step kind is one file: a type that implements [`Step`], and one line in its family's list. It sees its
//! parameters, a [`Context`] and its ports `P`; it never sees the protocol, the worker or an SDK.
//!
//! The rules that keep a live cluster safe are in the types:
//!
//! * A [`Declaration`] says everything the engine must know before the first attempt. Every field is required, so a kind
//!   without one does not compile; a [`Registry`] refuses a kind whose declaration contradicts itself.
//! * A mutation needs a [`Permit`], passed by value. A permit is minted only by the worker that holds the lease (and by
//!   the testkit), through [`runtime`]; a step can only ask for one with [`Context::permit`] and wait.
//! * An error says what is known about the world ([`StepError`]).
//!
//! This crate does no I/O, reads no clock, and knows no port: `P` is whatever the family is generic over.

mod context;
mod declaration;
mod error;
mod permit;
mod registry;
pub mod runtime;
mod step;
mod time;

pub use context::{CHECKPOINT_BYTES_MAX, Context, Poll};
pub use declaration::{
    Class, Compensation, Declaration, Effect, LossPolicy, Reach, RetryPolicy, Role, Timeouts,
};
pub use error::{Certainty, StepError};
pub use permit::{Fence, Permit, Stamp};
pub use registry::{Registry, RegistryError};
pub use step::{ErasedStep, OUTPUT_BYTES_MAX, Observed, ObservedJson, Step};
pub use time::{Clock, Timestamp};
