//! etcd of a workload cluster, vintage and Cluster API members alike.

use drover_step_api::Permit;
use serde::{Deserialize, Serialize};

use crate::{
    Call, PortError, Reply,
    ports::{Line, mismatch},
};

/// A request to etcd. `member` is the member (by name) that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum EtcdCall {
    /// The membership, from any healthy member.
    MemberList,
    /// One member's own view of itself.
    Status {
        /// Member name.
        member: String,
    },
    /// Names of raised alarms, from any healthy member.
    AlarmList,
    /// Hands leadership to a member.
    MoveLeader {
        /// Member name.
        to: String,
    },
    /// Removes a member. It never comes back under the same id.
    MemberRemove {
        /// Member id.
        id: u64,
    },
    /// Writes a snapshot of a healthy member to the region store. One that is already there under the key is kept and
    /// answered with, so that a lost reply does not replace a snapshot by a later one.
    SaveSnapshot {
        /// Key in the region store.
        key: String,
    },
}

impl EtcdCall {
    /// As permissions name it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::MemberList => "etcd:MemberList",
            Self::Status { .. } => "etcd:Status",
            Self::AlarmList => "etcd:AlarmList",
            Self::MoveLeader { .. } => "etcd:MoveLeader",
            Self::MemberRemove { .. } => "etcd:MemberRemove",
            Self::SaveSnapshot { .. } => "etcd:SaveSnapshot",
        }
    }

    /// True when it changes something.
    pub fn mutates(&self) -> bool {
        match self {
            Self::MemberList | Self::Status { .. } | Self::AlarmList => false,
            Self::MoveLeader { .. } | Self::MemberRemove { .. } | Self::SaveSnapshot { .. } => true,
        }
    }
}

/// The answer to an [`EtcdCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EtcdReply {
    /// To `MemberList`.
    Members {
        /// Ordered by name.
        members: Vec<Member>,
    },
    /// To `Status`.
    Status(MemberStatus),
    /// To `AlarmList`.
    Alarms {
        /// "NOSPACE on etcd1", …
        alarms: Vec<String>,
    },
    /// To `SaveSnapshot`.
    Snapshot(Snapshot),
    /// To every other mutation.
    Done,
}

/// One etcd member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Given by etcd.
    pub id: u64,
    /// Empty until the member has started.
    pub name: String,
    /// Peer URLs.
    pub peer_urls: Vec<String>,
    /// True once it has started.
    pub started: bool,
    /// True while it follows without a vote: it serves nobody yet.
    #[serde(default)]
    pub learner: bool,
}

/// One member's own view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Member id.
    pub id: u64,
    /// Id of the leader it follows; 0 when it knows none.
    pub leader: u64,
    /// Newest revision.
    pub revision: u64,
    /// Applied raft index.
    pub raft_applied_index: u64,
    /// Bytes of the database.
    pub db_size: u64,
    /// True when it answers a linearizable read.
    pub healthy: bool,
}

/// A snapshot in the region store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Revision it holds.
    pub revision: u64,
    /// Bytes.
    pub size: u64,
}

/// The port.
#[derive(Clone)]
pub struct Etcd {
    line: Line,
    cluster: String,
}

impl Etcd {
    pub(crate) fn new(line: Line, cluster: &str) -> Self {
        Self {
            line,
            cluster: cluster.to_owned(),
        }
    }

    fn call(&self, call: EtcdCall) -> Call {
        Call::Etcd {
            cluster: self.cluster.clone(),
            call,
        }
    }

    async fn read(&self, call: EtcdCall) -> Result<EtcdReply, PortError> {
        let action = call.action();
        match self.line.read(self.call(call)).await? {
            Reply::Etcd(reply) => Ok(reply),
            _ => Err(mismatch(action)),
        }
    }

    async fn write(&self, permit: Permit, call: EtcdCall) -> Result<EtcdReply, PortError> {
        let action = call.action();
        match self.line.write(permit, self.call(call)).await? {
            Reply::Etcd(reply) => Ok(reply),
            _ => Err(mismatch(action)),
        }
    }

    /// The membership, from any healthy member, ordered by name.
    ///
    /// # Errors
    /// `Unavailable` without quorum.
    pub async fn member_list(&self) -> Result<Vec<Member>, PortError> {
        match self.read(EtcdCall::MemberList).await? {
            EtcdReply::Members { members } => Ok(members),
            _ => Err(mismatch("etcd:MemberList")),
        }
    }

    /// One member's own view of itself.
    ///
    /// # Errors
    /// `Unreachable` when the member does not answer; `NotFound` when there is no such member.
    pub async fn status(&self, member: &str) -> Result<MemberStatus, PortError> {
        match self
            .read(EtcdCall::Status {
                member: member.to_owned(),
            })
            .await?
        {
            EtcdReply::Status(status) => Ok(status),
            _ => Err(mismatch("etcd:Status")),
        }
    }

    /// Raised alarms.
    ///
    /// # Errors
    /// `Unavailable` without quorum.
    pub async fn alarm_list(&self) -> Result<Vec<String>, PortError> {
        match self.read(EtcdCall::AlarmList).await? {
            EtcdReply::Alarms { alarms } => Ok(alarms),
            _ => Err(mismatch("etcd:AlarmList")),
        }
    }

    /// Hands leadership to a member; nothing happens when it leads already.
    ///
    /// # Errors
    /// `NotFound` when there is no such member; `Unavailable` without quorum.
    pub async fn move_leader(&self, permit: Permit, to: &str) -> Result<(), PortError> {
        match self
            .write(permit, EtcdCall::MoveLeader { to: to.to_owned() })
            .await?
        {
            EtcdReply::Done => Ok(()),
            _ => Err(mismatch("etcd:MoveLeader")),
        }
    }

    /// Removes a member for good.
    ///
    /// # Errors
    /// `NotFound` when there is no such member; `Unavailable` without quorum.
    pub async fn member_remove(&self, permit: Permit, id: u64) -> Result<(), PortError> {
        match self.write(permit, EtcdCall::MemberRemove { id }).await? {
            EtcdReply::Done => Ok(()),
            _ => Err(mismatch("etcd:MemberRemove")),
        }
    }

    /// Writes a snapshot of a healthy member to the region store under `key`; one that is already there is kept and
    /// answered with.
    ///
    /// # Errors
    /// `Unavailable` when no member is healthy or the store does not take it.
    pub async fn save_snapshot(&self, permit: Permit, key: &str) -> Result<Snapshot, PortError> {
        match self
            .write(
                permit,
                EtcdCall::SaveSnapshot {
                    key: key.to_owned(),
                },
            )
            .await?
        {
            EtcdReply::Snapshot(snapshot) => Ok(snapshot),
            _ => Err(mismatch("etcd:SaveSnapshot")),
        }
    }
}
