//! Vintage custom resources: reading what `kubectl get -o yaml` prints, typed access, and what is odd about them.

mod cluster;
mod error;
mod finding;
mod findings;
pub mod keys;
mod read;
pub mod types;
mod yaml;

pub use cluster::{NodePool, VintageCluster};
pub use error::{CrError, INPUT_LIMIT};
pub use finding::Finding;
pub use yaml::Place;
