//! Why a world could not be made, kept or reached.

use std::{io, path::PathBuf};

use drover_model::{CrError, Partition};
use thiserror::Error;

/// Why a world could not be made, kept or reached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorldError {
    /// Custom resources that are no vintage clusters.
    #[error(transparent)]
    Resources(#[from] CrError),
    /// Nowhere to put a cluster.
    #[error(
        "cluster {cluster} is in {region}, and no installation lies in the partition {partition}; add one there"
    )]
    NoInstallation {
        /// Cluster id.
        cluster: String,
        /// Its region.
        region: String,
        /// Its partition.
        partition: Partition,
    },
    /// Two clusters of one id.
    #[error("cluster {0} is in the world already; every cluster needs an id of its own")]
    Twice(String),
    /// No keys.
    #[error("keys could not be made: {0}")]
    Keys(String),
    /// A file operation on the journal.
    #[error("the world's journal {path}: {what}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A journal that was damaged in the middle.
    #[error(
        "the world's journal {path} is damaged at byte {offset}, before its end; restore the file from a copy, or move the folder away to begin with a new world"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A journal of another version, or of another world.
    #[error(
        "the world's journal {path} {why}; use the folder that belongs to this world, or an empty one"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The simulated world does not answer.
    #[error("the simulated world does not answer: {0}")]
    Unreachable(String),
}
