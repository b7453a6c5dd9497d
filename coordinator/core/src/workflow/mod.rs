//! The workflow state machine. Its whole public surface: [`Workflow::create`], [`Workflow::react`] (and
//! [`Workflow::decide`], the same without changing anything), [`Workflow::begin`] and [`Workflow::apply`] for recovery,
//! [`Workflow::next_deadline`], [`Workflow::wanted`], [`Workflow::describe`].
//!
//! The rules, and where they live:
//!
//! * [`event`]: the persisted facts. [`state`]: what they add up to. `apply`: how.
//! * `decide`: one turn. `due`: what time alone does. `advance`: what follows from the state. `ready`: may a step be
//!   leased. `attempt`: leases, acks, reports. `act`: what people do.
//! * No outcome unwinds by itself: a refused or exhausted step waits for an operator, and with it the workflow.
//! * Every step that may have started is taken back, in reverse order of the first acks, unless every acked attempt of it
//!   ended refused.
//! * A report whose fence is not in force changes nothing.

mod act;
mod advance;
mod apply;
mod attempt;
mod decide;
mod describe;
mod due;
pub mod event;
pub mod hold;
pub mod input;
mod items;
mod looking;
mod objects;
mod ready;
mod replan;
pub mod state;

pub use act::OUTPUT_BYTES_MAX;
pub use advance::PARAMS_BYTES_MAX;
pub use decide::Decision;
pub use describe::{Live, NotLive};
pub use input::{Act, Env, Facts, Input, Offer, Outcome, Rejection, Reply, Verdict};
pub use items::ITEMS_BYTES_MAX;
pub use objects::named_by;
pub use ready::Wanted;
pub use replan::{Change, Diff};
pub use state::{Course, End, Phase, Workflow};

/// The largest input of a workflow, in bytes of JSON.
pub const INPUT_BYTES_MAX: usize = 1 << 20;

/// The largest checkpoint, in bytes of JSON.
pub const CHECKPOINT_BYTES_MAX: usize = 4 << 10;
