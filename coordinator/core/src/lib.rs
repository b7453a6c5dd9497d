//! The pure core of Drover.
//!
//! Two ideas carry the engine, and both live here without a clock, randomness, I/O or threads:
//!
//! * A **workflow** is a fold of events ([`workflow`]). `decide` looks at a state, an input and the present ([`workflow::Env`])
//!   and answers with events and a reply; `apply` is the only thing that changes a state; `next_deadline` says when time
//!   alone would change something. Running and recovering go through the same `apply`.
//! * What is known of workers and pools is a fold too ([`pools`]), beside an in-memory table of leases ([`lease`]) that
//!   knows about liveness and nothing else.
//!
//! Around them: definitions as data ([`definition`], [`expr`], [`plan`]), the hash chain of every stream ([`stream`]), the
//! JSON that people and scripts read ([`view`], [`query`]).

#![warn(missing_docs)]
// A new state or event must break the build wherever it has to be thought about.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod audit;
pub mod backup;
pub mod catalog;
pub mod declaration;
pub mod definition;
pub mod expr;
pub mod facts;
pub mod ids;
pub mod lease;
pub mod object;
pub mod plan;
pub mod pools;
pub mod query;
pub mod stream;
pub mod time;
pub mod view;
pub mod workflow;
pub mod yaml;
