//! What the steps and the simulated world both have to know about a cluster: its vintage custom resources, the plan of
//! its migration, the Cluster API objects that it becomes, and the rules of AWS partitions.
//!
//! Pure: no clock, no randomness, no I/O. Depends on no other package of ours.

pub mod cr;
mod digest;
pub mod disruption;
pub mod names;
pub mod node_job;
mod partition;
pub mod pki;
mod plan;
mod schedule;
pub mod stack_template;
pub mod target;
mod version;

pub use cr::{CrError, Finding, VintageCluster};
pub use digest::{canonical, digest, sha256_hex};
pub use partition::Partition;
pub use plan::*;
pub use schedule::UpdateSchedule;
pub use target::TargetObject;
pub use version::{FIRST_MIGRATABLE_RELEASE, Version, VersionError};
