//! etcd of a workload cluster.

use drover_model::sha256_hex;
use drover_ports::{
    EtcdCall, EtcdReply, Member, MemberStatus, PortError, PortErrorKind, Reply, SecretBytes,
    Snapshot,
};

use super::Done;
use crate::{
    genesis::Site,
    rules::etcd as rules,
    state::{Cluster, EtcdMember},
};

pub(super) fn target(cluster: &str, call: &EtcdCall) -> String {
    match call {
        EtcdCall::MemberList | EtcdCall::AlarmList => cluster.to_owned(),
        EtcdCall::Status { member } | EtcdCall::MoveLeader { to: member } => {
            format!("{cluster}/{member}")
        }
        EtcdCall::MemberRemove { id } => format!("{cluster}/{id:x}"),
        EtcdCall::SaveSnapshot { key } => key.clone(),
    }
}

pub(super) fn call(
    site: &mut Site,
    cluster: &mut Cluster,
    call: &EtcdCall,
    action: &str,
) -> Result<Done, PortError> {
    let unavailable = |why: &str| PortError::new(PortErrorKind::Unavailable, action, why);
    let not_found = |what: String| {
        PortError::new(
            PortErrorKind::NotFound,
            action,
            format!("there is no member {what}"),
        )
        .with_code("etcdserver: member not found")
    };
    let needs_quorum = !matches!(call, EtcdCall::Status { .. });
    if needs_quorum && !rules::has_quorum(cluster) {
        return Err(unavailable("etcd has no quorum"));
    }
    let done = |cluster: &Cluster, changed: bool| Done {
        reply: Reply::Etcd(EtcdReply::Done),
        changed,
        touched: Some(cluster.facts.id.clone()),
    };
    match call {
        EtcdCall::MemberList => {
            let members = cluster.etcd.members.iter().map(member).collect();
            Ok(Done::read(Reply::Etcd(EtcdReply::Members { members })))
        }
        EtcdCall::AlarmList => {
            let alarms = cluster.etcd.alarms.iter().cloned().collect();
            Ok(Done::read(Reply::Etcd(EtcdReply::Alarms { alarms })))
        }
        EtcdCall::Status { member } => {
            let found = cluster
                .etcd
                .by_name(member)
                .ok_or_else(|| not_found(member.clone()))?;
            if !rules::is_up(cluster, found) {
                let why = format!("member {member} refuses the connection");
                return Err(PortError::new(PortErrorKind::Unreachable, action, why));
            }
            let status = MemberStatus {
                id: found.id,
                leader: cluster.etcd.leader.unwrap_or(0),
                revision: cluster.etcd.revision,
                raft_applied_index: cluster.etcd.revision + 1_000,
                db_size: cluster.etcd.db_size,
                healthy: rules::has_quorum(cluster) && !found.learner,
            };
            Ok(Done::read(Reply::Etcd(EtcdReply::Status(status))))
        }
        EtcdCall::MoveLeader { to } => {
            let found = cluster
                .etcd
                .by_name(to)
                .ok_or_else(|| not_found(to.clone()))?;
            if !rules::is_up(cluster, found) || found.learner {
                return Err(unavailable("the member cannot lead now"));
            }
            let id = found.id;
            let changed = cluster.etcd.leader != Some(id);
            cluster.etcd.leader = Some(id);
            Ok(done(cluster, changed))
        }
        EtcdCall::MemberRemove { id } => {
            if !rules::remove(cluster, *id) {
                return Err(not_found(format!("{id:x}")));
            }
            Ok(done(cluster, true))
        }
        EtcdCall::SaveSnapshot { key } => {
            if let Some(kept) = site.snapshots.get(key) {
                return Ok(Done::read(Reply::Etcd(EtcdReply::Snapshot(kept.clone()))));
            }
            // The file is not simulated, only that it is one: of this cluster, at this revision.
            let text = format!(
                "etcd snapshot of {} at revision {}",
                cluster.facts.id, cluster.etcd.revision
            );
            let data = SecretBytes::new(text.into_bytes());
            let snapshot = Snapshot {
                sha256: sha256_hex(data.expose()),
                revision: cluster.etcd.revision,
                size: cluster.etcd.db_size,
            };
            site.region_store.insert(key.clone(), data);
            site.snapshots.insert(key.clone(), snapshot.clone());
            Ok(Done {
                reply: Reply::Etcd(EtcdReply::Snapshot(snapshot)),
                changed: true,
                touched: None,
            })
        }
    }
}

fn member(member: &EtcdMember) -> Member {
    Member {
        id: member.id,
        // etcd learns a member's name when it starts.
        name: if member.started {
            member.name.clone()
        } else {
            String::new()
        },
        peer_urls: vec![member.peer_url.clone()],
        started: member.started,
        learner: member.learner,
    }
}
