//! Faults that can be injected, and when they strike.
//!
//! Whether a fault strikes is a hash of the seed, of what the call is, and of how many such calls the world has seen: of
//! calls with an idempotency key those with the same key, of others those of the same step and action. So the same faults
//! strike in two runs although their processes race.
//!
//! In text a fault is `KIND[@TARGET][=RATE]`:
//!
//! * `TARGET` is an action (`ec2:DescribeInstances`, `capi-mc:apply:*`; a final `*` stands for anything), for faults of
//!   machines a cluster id. Without one each kind has a default, see [`FaultKind::describe`].
//! * `RATE` is `once` (the first such call of a step), `always`, or a share such as `20%`; for faults of machines the share
//!   is one of clusters.

mod spec;
mod strike;

pub use spec::{FaultError, FaultKind, FaultSpec};
pub(crate) use strike::{CallCount, Faults, error_of};
