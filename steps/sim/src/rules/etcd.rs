//! etcd: quorum, leadership, learners, and how API servers reach it.

use drover_model::names;
use drover_step_api::Timestamp;

use crate::state::{Cluster, EtcdMember, Host, Proc, Status};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    start_members(cluster) | promote(cluster, now) | elect(cluster, now)
}

/// True when a host's etcd belongs to the cluster's membership.
pub(super) fn belongs(cluster: &Cluster, instance: &str) -> bool {
    cluster.etcd.corrupted.is_none() && cluster.etcd.member_of(instance).is_some()
}

/// True when a host's member runs and was not removed.
pub(crate) fn member_is_up(cluster: &Cluster, instance: &str) -> bool {
    cluster
        .etcd
        .member_of(instance)
        .is_some_and(|member| is_up(cluster, member))
}

pub(crate) fn is_up(cluster: &Cluster, member: &EtcdMember) -> bool {
    member.started
        && cluster
            .hosts
            .get(&member.instance)
            .is_some_and(|host| host.runs(Proc::Etcd) && !host.lone_etcd)
}

/// More than half of the voting members are up. An added member counts from the moment it was added.
pub(crate) fn has_quorum(cluster: &Cluster) -> bool {
    let voters = cluster.etcd.voters().count();
    let up = cluster
        .etcd
        .voters()
        .filter(|member| is_up(cluster, member))
        .count();
    cluster.etcd.corrupted.is_none() && up * 2 > voters
}

/// Every voting member is up, and nobody is on the way in or still learning.
pub(crate) fn is_whole(cluster: &Cluster) -> bool {
    has_quorum(cluster)
        && cluster
            .etcd
            .members
            .iter()
            .all(|member| is_up(cluster, member) && !member.learner)
}

/// How an API server on this host gets through to etcd.
pub(crate) fn reach(cluster: &Cluster, id: &str, host: &Host) -> Status {
    if host.lone_etcd {
        return if host.runs(Proc::Etcd) {
            Status::Ok
        } else {
            Status::Down("its own does not run".to_owned())
        };
    }
    let local = cluster.etcd.member_of(id);
    // A vintage control plane of three asks whatever its load balancer gives it; all others ask the member beside them.
    let backend_up = if host.is_vintage() && cluster.facts.masters > 1 {
        vintage_name_answers(cluster)
    } else {
        local.is_some_and(|member| is_up(cluster, member) && !member.learner)
    };
    if !backend_up {
        return Status::Down("no member answers it".to_owned());
    }
    if let Some(why) = &cluster.etcd.corrupted {
        return Status::Down(why.clone());
    }
    if !has_quorum(cluster) {
        return Status::Stalled("etcd has no quorum".to_owned());
    }
    if cluster.etcd.leader.is_none() {
        return Status::Stalled("etcd elects a leader".to_owned());
    }
    Status::Ok
}

/// True when a live member answers under vintage etcd's name.
pub(super) fn vintage_name_answers(cluster: &Cluster) -> bool {
    cluster
        .cloud
        .elbs
        .get(&names::etcd_load_balancer(&cluster.facts.id))
        .is_some_and(|elb| elb.in_service().any(|id| member_is_up(cluster, id)))
}

/// A member whose process runs has started.
fn start_members(cluster: &mut Cluster) -> bool {
    let mut acted = false;
    for member in &mut cluster.etcd.members {
        let runs = cluster
            .hosts
            .get(&member.instance)
            .is_some_and(|host| host.runs(Proc::Etcd) && !host.lone_etcd);
        if runs && !member.started {
            member.started = true;
            acted = true;
        }
    }
    acted
}

/// The unit that the join script leaves promotes its learner as soon as it has caught up.
fn promote(cluster: &mut Cluster, now: Timestamp) -> bool {
    let learners: Vec<String> = cluster
        .etcd
        .members
        .iter()
        .filter(|member| member.learner)
        .map(|member| member.instance.clone())
        .collect();
    let mut acted = false;
    for instance in learners {
        let ready = member_is_up(cluster, &instance) && has_quorum(cluster);
        let chance = &cluster.chance;
        if cluster
            .timers
            .hold("etcd-promotes", &instance, ready, now, || {
                chance.millis(5_000, 9_000, "etcd-promotes", &instance)
            })
        {
            for member in &mut cluster.etcd.members {
                if member.instance == instance {
                    member.learner = false;
                    acted = true;
                }
            }
        }
    }
    acted
}

/// A lost leader is replaced within about a second, if there is a quorum to elect another.
fn elect(cluster: &mut Cluster, now: Timestamp) -> bool {
    let leads = cluster.etcd.leader.is_some_and(|id| {
        cluster
            .etcd
            .members
            .iter()
            .any(|member| member.id == id && is_up(cluster, member))
    });
    let mut acted = false;
    if !leads && cluster.etcd.leader.is_some() {
        cluster.etcd.leader = None;
        acted = true;
    }
    let electing = !leads && has_quorum(cluster);
    let term = cluster.etcd.revision;
    let chance = &cluster.chance;
    if cluster.timers.hold("etcd-elects", "", electing, now, || {
        chance.millis_nth(900, 1_300, "etcd-elects", "", term)
    }) {
        let elected = cluster
            .etcd
            .voters()
            .find(|member| is_up(cluster, member))
            .map(|member| member.id);
        cluster.etcd.leader = elected;
        acted = true;
    }
    acted
}

/// The member that leads hands its leadership to the newest other one that is up, which costs nobody anything.
pub(super) fn forward_leadership(cluster: &mut Cluster, from: u64) {
    if cluster.etcd.leader != Some(from) {
        return;
    }
    let ordinal = |member: &&EtcdMember| {
        let instance = cluster.cloud.instances.get(&member.instance);
        instance.map(|instance| instance.ordinal)
    };
    let newest = cluster
        .etcd
        .voters()
        .filter(|member| member.id != from && is_up(cluster, member))
        .max_by_key(ordinal)
        .map(|member| member.id);
    if newest.is_some() {
        cluster.etcd.leader = newest;
    }
}

/// Takes a member out of the membership for good. False when there is no such member.
pub(crate) fn remove(cluster: &mut Cluster, id: u64) -> bool {
    let before = cluster.etcd.members.len();
    cluster.etcd.members.retain(|member| member.id != id);
    cluster.etcd.removed.insert(id);
    cluster.etcd.members.len() != before
}

/// Adds a member that has not started yet. Refused while another one has not started, as etcd itself refuses it.
pub(super) fn add(cluster: &mut Cluster, instance: &str, learner: bool) -> bool {
    let Some(machine) = cluster.cloud.instances.get(instance) else {
        return false;
    };
    if !is_whole(cluster) || cluster.etcd.member_of(instance).is_some() {
        return false;
    }
    let name = machine.dns.clone();
    let added = cluster.etcd.removed.len() as u64;
    cluster.etcd.members.push(EtcdMember {
        id: cluster.chance.number("etcd-member", &name, added),
        peer_url: format!("https://{}:2380", machine.address),
        name,
        instance: instance.to_owned(),
        started: false,
        learner,
    });
    cluster.etcd.members.sort_by(|a, b| a.name.cmp(&b.name));
    true
}
