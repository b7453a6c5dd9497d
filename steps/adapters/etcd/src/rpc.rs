//! etcd's protocol, generated from `proto/etcd.proto`.

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    dead_code,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
mod generated {
    tonic::include_proto!("etcdserverpb");
}

#[cfg(test)]
pub(crate) use generated::ResponseHeader;
pub(crate) use generated::{
    AlarmMember, AlarmRequest, AlarmType, Member, MemberListRequest, MemberRemoveRequest,
    MoveLeaderRequest, RangeRequest, SnapshotRequest, SnapshotResponse, StatusRequest,
    StatusResponse, cluster_client::ClusterClient, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};
