//! Requests to one member.

use std::time::Duration;

use drover_ports::{Host, PortError};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming, transport::Channel};

use crate::{
    error::Asked,
    rpc::{
        AlarmMember, AlarmRequest, ClusterClient, KvClient, MaintenanceClient, Member,
        MemberListRequest, MemberRemoveRequest, MoveLeaderRequest, RangeRequest, SnapshotRequest,
        SnapshotResponse, StatusRequest,
    },
    survey::Seen,
};

/// etcd itself gives up after 7 s with the default election timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A member tells its status without asking anybody.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);
/// A healthy member reads in milliseconds.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// A member that has answered, and the way to it.
#[derive(Clone)]
pub(crate) struct View {
    /// Where it runs.
    pub(crate) host: Host,
    /// What it said of itself.
    pub(crate) seen: Seen,
    channel: Channel,
}

impl View {
    /// Asks whoever is at the other end of `channel` who it is.
    ///
    /// # Errors
    /// One that says why not.
    pub(crate) async fn take(
        host: Host,
        channel: Channel,
        asked: Asked<'_>,
    ) -> Result<Self, PortError> {
        let mut client = MaintenanceClient::new(channel.clone());
        // A look changes nothing, whatever it is for.
        let asked = asked.reading();
        let status = within(asked, STATUS_TIMEOUT, client.status(StatusRequest {})).await?;
        Ok(Self {
            host,
            seen: Seen::from(&status),
            channel,
        })
    }

    /// True when a linearizable read succeeds. etcd's own `endpoint health` does the same.
    pub(crate) async fn healthy(&self) -> bool {
        let request = RangeRequest {
            key: b"health".to_vec(),
            limit: 1,
        };
        let mut client = KvClient::new(self.channel.clone());
        !self.seen.learner
            && self.seen.leader != 0
            && matches!(
                timeout(HEALTH_TIMEOUT, client.range(request)).await,
                Ok(Ok(_))
            )
    }

    /// The membership. Without `linearizable` it is the member's own view, which needs no quorum and may be old.
    ///
    /// # Errors
    /// `Unavailable` without quorum.
    pub(crate) async fn members(
        &self,
        asked: Asked<'_>,
        linearizable: bool,
    ) -> Result<Vec<Member>, PortError> {
        let mut client = ClusterClient::new(self.channel.clone());
        let request = client.member_list(MemberListRequest { linearizable });
        Ok(within(asked, REQUEST_TIMEOUT, request).await?.members)
    }

    /// Raised alarms of all members.
    ///
    /// # Errors
    /// `Unavailable` without quorum.
    pub(crate) async fn alarms(&self, asked: Asked<'_>) -> Result<Vec<AlarmMember>, PortError> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        // All zero: get every alarm of every member.
        let request = client.alarm(AlarmRequest::default());
        Ok(within(asked, REQUEST_TIMEOUT, request).await?.alarms)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// `NotFound` when there is no such member; `Conflict` when the rest would have no quorum.
    pub(crate) async fn remove(&self, asked: Asked<'_>, id: u64) -> Result<(), PortError> {
        let mut client = ClusterClient::new(self.channel.clone());
        let request = client.member_remove(MemberRemoveRequest { id });
        within(asked, REQUEST_TIMEOUT, request).await.map(drop)
    }

    /// Hands its leadership to the member with id `to`.
    ///
    /// # Errors
    /// `Unavailable` when it does not lead, or the other one cannot.
    pub(crate) async fn hand_over(&self, asked: Asked<'_>, to: u64) -> Result<(), PortError> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        let request = client.move_leader(MoveLeaderRequest { target_id: to });
        within(asked, REQUEST_TIMEOUT, request).await.map(drop)
    }

    /// Begins a snapshot. The stream has no limit of its own.
    ///
    /// # Errors
    /// `Unreachable` and the like.
    pub(crate) async fn snapshot(
        &self,
        asked: Asked<'_>,
    ) -> Result<Streaming<SnapshotResponse>, PortError> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        within(asked, REQUEST_TIMEOUT, client.snapshot(SnapshotRequest {})).await
    }
}

async fn within<T>(
    asked: Asked<'_>,
    limit: Duration,
    request: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, PortError> {
    match timeout(limit, request).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(asked.refused(&status)),
        Err(_) => Err(asked.late(limit)),
    }
}
