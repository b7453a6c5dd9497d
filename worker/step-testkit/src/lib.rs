//! Conformance of step kinds: every kind of a registry, disturbed at every outside call, without the kind's help.
//!
//! Whether a step survives a crash between its effect and its report cannot be seen by reading it, and a test that
//! its author has to remember is a test that the difficult kinds do not have. So a [`Conformance`] walks the registry
//! itself, and intercepts the one [`Door`](drover_ports::Door) that every outside call passes: it knows each call of an
//! undisturbed run, and so each place where something can go wrong. A kind supplies one [`Scenario`]: how to bring a
//! fresh world to where it starts. `README.md` tells what the rounds are and how to read a failure.
//!
//! The kit's own tests (`tests/kit`) show a family's side of it on a toy world.
//!
//! The [`Driver`] underneath is of use by itself: it plays one attempt after the other, with levers to pause, cancel,
//! stop and supersede, for tests that play a whole migration.
//!
//! The kit knows the worker's side of a context ([`drover_step_api::runtime`]) and nothing of the worker: it mints
//! permits and carries fences itself, on tokio's paused time. It does no I/O.

mod background;
mod conformance;
mod diff;
mod driven;
mod driver;
mod fault;
mod fixture;
mod host;
mod leaks;
mod levers;
mod outcome;
mod recorder;
mod report;
mod rounds;
mod rule;
mod running;
mod scenario;
mod schema;
mod stage;
mod tap;
mod target;
mod tripwire;

pub use background::Background;
pub use conformance::{Conformance, KIND_VARIABLE};
pub use driven::DrivenStep;
pub use driver::Driver;
pub use fixture::{Fixture, LedgerEntry, Thaw};
pub use levers::Levers;
pub use outcome::{End, Mode, Outcome};
pub use recorder::{CallRecord, Fate};
pub use report::{Failure, Report};
pub use rule::{Round, Rule};
pub use running::Running;
pub use scenario::Scenario;
pub use stage::Stage;
