//! The cluster's etcd.

use std::collections::BTreeSet;

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcdMember {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer_url: String,
    /// Where it runs, or is to run.
    pub(crate) instance: String,
    pub(crate) started: bool,
    /// Follows without a vote.
    pub(crate) learner: bool,
}

/// The cluster's etcd.
#[derive(Clone, Debug, Default)]
pub(crate) struct Etcd {
    pub(crate) members: Vec<EtcdMember>,
    /// Ids that were removed: their data is dead and never joins again.
    pub(crate) removed: BTreeSet<u64>,
    pub(crate) leader: Option<u64>,
    /// Writes so far.
    pub(crate) revision: u64,
    pub(crate) db_size: u64,
    pub(crate) quota: u64,
    pub(crate) alarms: BTreeSet<String>,
    /// Why the membership is beyond repair.
    pub(crate) corrupted: Option<String>,
}

impl Etcd {
    pub(crate) fn member_of(&self, instance: &str) -> Option<&EtcdMember> {
        self.members
            .iter()
            .find(|member| member.instance == instance)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&EtcdMember> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Members that vote.
    pub(crate) fn voters(&self) -> impl Iterator<Item = &EtcdMember> {
        self.members.iter().filter(|member| !member.learner)
    }
}
