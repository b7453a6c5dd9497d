//! The simulated world: installations, clusters, AWS, etcd, Cluster API and its controllers, the vintage operators, as far
//! as a live migration meets them.
//!
//! * [`World`] is pure: a deterministic discrete-event state machine. It reads no clock and draws no random numbers; time
//!   and a seed come in. Everything that looks random is a hash of the seed and of what it is for, so two worlds with one
//!   seed and the same calls are the same world.
//! * The *rules of reality* (`rules`) are what the world does by itself. They are written to bite: a step that forgets
//!   something that a real cluster needs leaves a gap in what customers see, or an accident, in the [`Report`].
//! * *Doors* (`doors`) are what outside calls see. [`LocalWorld`] gives a door in memory on tokio's time; [`serve`]
//!   and [`WorldClient`] the same over gRPC, for processes, with a journal underneath that survives SIGKILL.
//! * The *ledger* keeps every outside call, and [`ledger::check_kinds`] says what it proves.
//!
//! Nothing here knows an SDK, and nothing knows which steps there are.

mod chance;
mod client;
mod config;
mod doors;
mod durable;
mod error;
mod fate;
mod faults;
mod genesis;
mod journal;
mod keys;
mod latency;
pub mod ledger;
mod local;
mod normalized;
mod objects;
mod report;
mod rules;
mod samples;
mod server;
mod state;
mod text;
mod timers;
mod world;

pub use client::{WorldClient, WorldClock, WorldDoor};
pub use config::{DEFAULT_START, InstallationConfig, WorldConfig, installation_of};
pub use error::WorldError;
pub use fate::Fate;
pub use faults::{FaultError, FaultKind, FaultSpec};
pub use genesis::{Genesis, GenesisCluster};
pub use keys::{ClusterKeys, KeyRing};
pub use latency::Latency;
pub use ledger::LedgerEntry;
pub use local::{LocalClock, LocalDoor, LocalWorld};
pub use normalized::differences;
pub use report::{ClusterReport, ClusterState, Report};
pub use samples::{generate, generate_for, sample_crs};
pub use server::{ServeOptions, serve};
pub use state::{Gap, ProbeName};
pub use world::{Request, World};
