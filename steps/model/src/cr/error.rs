//! Why an input is not vintage clusters: one sentence each, with the place and what to do.

use thiserror::Error;

use super::yaml::Place;

/// The largest input that is read, bytes.
pub const INPUT_LIMIT: usize = 8 * 1024 * 1024;

/// Why custom resources were not read. `Display` begins with `FILE:LINE:COL`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CrError {
    /// Not YAML.
    #[error("{place}: {message}; print the objects again with `kubectl get … -o yaml`")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// Nothing in it.
    #[error(
        "{place}: the file is empty; it should hold what `kubectl get … -o yaml` prints for the cluster"
    )]
    Empty {
        /// Where.
        place: Place,
    },
    /// Objects, but no cluster among them.
    #[error(
        "{place}: there is no cluster in the input, only {found}; add the `Cluster` and the `AWSCluster`"
    )]
    NoCluster {
        /// Where.
        place: Place,
        /// The kinds that are there.
        found: String,
    },
    /// A document without a kind.
    #[error(
        "{place}: this document is not a Kubernetes object because it has no `kind`; remove it or print it again with `kubectl get … -o yaml`"
    )]
    NotAnObject {
        /// Where.
        place: Place,
    },
    /// Objects of a provider that this migration does not move.
    #[error(
        "{place}: {what} is not a vintage AWS cluster, and only those can be migrated; leave it out of the input"
    )]
    OtherProvider {
        /// Where.
        place: Place,
        /// Kind, group and name.
        what: String,
    },
    /// A field of the wrong type.
    #[error(
        "{place}: {what} does not have the shape of its kind ({message}); print it again with `kubectl get … -o yaml`"
    )]
    Shape {
        /// Where.
        place: Place,
        /// Kind and name.
        what: String,
        /// What does not fit.
        message: String,
    },
    /// A kind of which a cluster has exactly one is not there.
    #[error("{place}: cluster {cluster} has no {kind} in the input; {hint}")]
    Missing {
        /// Where its first object is.
        place: Place,
        /// Cluster id.
        cluster: String,
        /// The kind.
        kind: &'static str,
        /// How to get it.
        hint: String,
    },
    /// A kind of which a cluster has exactly one is there twice.
    #[error(
        "{place}: cluster {cluster} has a second {kind} ({name}, the first is at {first}); a cluster has exactly one, so remove the one that is not its own"
    )]
    Second {
        /// Where the second one is.
        place: Place,
        /// Cluster id.
        cluster: String,
        /// The kind.
        kind: &'static str,
        /// Name of the second one.
        name: String,
        /// Where the first one is.
        first: Place,
    },
    /// One object twice, with different contents.
    #[error(
        "{place}: {what} is in the input twice with different contents (first at {first}); keep the newer one"
    )]
    Differs {
        /// Where the second one is.
        place: Place,
        /// Kind, namespace and name.
        what: String,
        /// Where the first one is.
        first: Place,
    },
    /// A cluster id that cannot be one.
    #[error(
        "{place}: {id:?} cannot be a cluster id; ids are 1 to 20 lower-case letters, digits and dashes and begin with a letter"
    )]
    BadId {
        /// Where.
        place: Place,
        /// What stands there.
        id: String,
    },
    /// No region and nothing to derive it from.
    #[error(
        "{place}: AWSCluster {cluster} has no region and no availability zone to derive it from; set `spec.provider.region`"
    )]
    NoRegion {
        /// Where.
        place: Place,
        /// Cluster id.
        cluster: String,
    },
    /// A control plane that cannot be migrated.
    #[error(
        "{place}: G8sControlPlane {name} has {replicas} replicas; a vintage control plane has 1 or 3"
    )]
    Replicas {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
        /// What it says.
        replicas: u32,
    },
    /// Too much.
    #[error(
        "{place}: the input is {size} bytes and at most {limit} are read; pass the objects of fewer clusters"
    )]
    TooLarge {
        /// The file that passes the limit.
        place: Place,
        /// Bytes up to and including this file.
        size: usize,
        /// [`INPUT_LIMIT`].
        limit: usize,
    },
}
