//! Machines boot: a Cluster API control-plane machine from its bootstrap data, a replaced vintage machine from its
//! template.
//!
//! `Instance::boot` says how far one has come; each stage waits for what it needs and for its time. A stage that lacks
//! something it will never get (a certificate of the wrong CA, say) simply waits for ever, as the real one does.

use drover_model::names;
use drover_step_api::Timestamp;
use serde_json::json;

use super::{
    api, ec2, etcd,
    kubeadm::{self, EtcdStart},
    machine_pools, migrator, nodes,
};
use crate::{
    genesis,
    objects::Store,
    state::{Bootstrap, Cluster, Flavour, Host, InstanceRole, Proc, Status, VINTAGE_REALM},
};

/// The system comes up and reads its bootstrap data.
const SYSTEM: u8 = 0;
/// First machine: etcd joins, or does not.
const ETCD: u8 = 1;
/// Later machines: kubelet asks for a certificate.
const KUBELET: u8 = 2;
/// Later machines: kubeadm adds the etcd member.
const MEMBER: u8 = 3;
/// etcd's manifest is written.
const ETCD_MANIFEST: u8 = 4;
/// The other manifests are written.
const MANIFESTS: u8 = 5;
/// kubeadm uploads its configuration, the Node registers.
const FINISH: u8 = 6;

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let booting: Vec<(String, InstanceRole, u8)> = cluster
        .cloud
        .instances
        .values()
        .filter(|instance| instance.runs() && instance.boot != ec2::BOOTED)
        .map(|instance| (instance.id.clone(), instance.role.clone(), instance.boot))
        .collect();
    let mut acted = false;
    for (id, role, stage) in booting {
        let next = match role {
            InstanceRole::Master(number) => vintage_master(cluster, &id, number, now),
            InstanceRole::Worker(_) => worker(cluster, &id, now),
            InstanceRole::PoolNode(_) => machine_pools::boot(cluster, &id, now),
            InstanceRole::ControlPlane(machine) => {
                machine_stage(cluster, &id, &machine, stage, now)
            }
        };
        if let (Some(next), Some(instance)) = (next, cluster.cloud.instances.get_mut(&id)) {
            instance.boot = next;
            acted = true;
        }
    }
    acted
}

/// A master that its Auto Scaling group brought back.
fn vintage_master(cluster: &mut Cluster, id: &str, number: u32, now: Timestamp) -> Option<u8> {
    let chance = &cluster.chance;
    if !cluster.timers.hold("boot-vintage", id, true, now, || {
        chance.millis(150_000, 210_000, "boot-vintage", id)
    }) {
        return None;
    }
    let node = cluster.cloud.instances[id].dns.clone();
    let host = genesis::vintage_host(cluster, number, &node);
    cluster.hosts.insert(id.to_owned(), host);
    // The old volume and address are attached, so its etcd is the same member, if it still is one.
    let name = names::etcd_members(cluster.facts.masters)
        .get(number as usize - 1)
        .cloned()
        .unwrap_or_default();
    for member in &mut cluster.etcd.members {
        if member.name == name {
            id.clone_into(&mut member.instance);
        }
    }
    if cluster.facts.masters > 1 {
        migrator::wake(cluster, now);
    }
    cluster.accident(
        now,
        format!("a new vintage master {number} has booted with everything in place"),
    );
    nodes::register(cluster, id, now);
    Some(ec2::BOOTED)
}

fn worker(cluster: &mut Cluster, id: &str, now: Timestamp) -> Option<u8> {
    let answers = api::through_old_name(cluster) == Status::Ok;
    let chance = &cluster.chance;
    if !cluster.timers.hold("boot-worker", id, answers, now, || {
        chance.millis(100_000, 160_000, "boot-worker", id)
    }) {
        return None;
    }
    nodes::register(cluster, id, now);
    Some(ec2::BOOTED)
}

fn machine_stage(
    cluster: &mut Cluster,
    id: &str,
    machine: &str,
    stage: u8,
    now: Timestamp,
) -> Option<u8> {
    let bootstrap = cluster.bootstraps.get(machine)?.clone();
    let ready = ready(cluster, id, &bootstrap, stage);
    let (from, to) = stage_millis(cluster, &bootstrap, stage);
    let chance = &cluster.chance;
    let of = format!("{id}/{stage}");
    if !cluster.timers.hold("boot", &of, ready, now, || {
        chance.millis(from, to, "boot", &of)
    }) {
        return None;
    }
    act(cluster, id, machine, &bootstrap, stage, now)
}

/// From and to, in milliseconds.
fn stage_millis(cluster: &Cluster, bootstrap: &Bootstrap, stage: u8) -> (u64, u64) {
    match stage {
        SYSTEM if cluster.faults.slow_boot => (150_000, 240_000),
        SYSTEM => (30_000, 45_000),
        ETCD => (6_000, 10_000),
        KUBELET => (5_000, 8_000),
        MEMBER => (3_000, 5_000),
        // kubeadm join starts the member at once, because writes wait for it.
        ETCD_MANIFEST if !bootstrap.init => (300, 800),
        ETCD_MANIFEST => (8_000, 14_000),
        MANIFESTS => (4_000, 8_000),
        _ => (3_000, 6_000),
    }
}

/// Whether a stage has what it needs.
fn ready(cluster: &Cluster, id: &str, bootstrap: &Bootstrap, stage: u8) -> bool {
    let is_lone = || cluster.hosts.get(id).is_some_and(|host| host.lone_etcd);
    match stage {
        SYSTEM => {
            let first = cluster
                .cloud
                .instances
                .values()
                .filter(|other| matches!(other.role, InstanceRole::ControlPlane(_)));
            let ordinal = cluster.cloud.instances[id].ordinal;
            let is_first = first.map(|other| other.ordinal).min() == Some(ordinal);
            // An instance that was terminated is remembered for an hour, and so is that it was the first.
            !(cluster.faults.never_up && is_first)
        }
        ETCD if !kubeadm::can_read_its_configuration(bootstrap) => false,
        ETCD => match kubeadm::etcd_start(bootstrap) {
            EtcdStart::Alone => true,
            EtcdStart::Join { .. } => {
                bootstrap.etcd_ca == cluster.identities.ca
                    && etcd::is_whole(cluster)
                    && etcd::vintage_name_answers(cluster)
            }
        },
        KUBELET if cluster.hosts.get(id).is_some_and(|host| host.join_failed) => false,
        KUBELET => api::through_new_name(cluster) == Status::Ok && nodes::signer_leads(cluster),
        MEMBER => api::through_new_name(cluster) == Status::Ok && etcd::is_whole(cluster),
        ETCD_MANIFEST => true,
        MANIFESTS => {
            is_lone()
                || cluster
                    .etcd
                    .member_of(id)
                    .is_some_and(|member| member.started && !member.learner)
        }
        // kubeadm talks to the new load balancer; an empty cluster of one's own is as good to it as the right one.
        _ => api::serves(cluster, id) && (in_service(cluster, id) || is_lone()),
    }
}

fn in_service(cluster: &Cluster, id: &str) -> bool {
    cluster
        .cloud
        .elbs
        .get(&names::capa_load_balancer(&cluster.facts.id))
        .is_some_and(|elb| elb.in_service().any(|backend| backend == id))
}

fn act(
    cluster: &mut Cluster,
    id: &str,
    machine: &str,
    bootstrap: &Bootstrap,
    stage: u8,
    now: Timestamp,
) -> Option<u8> {
    match stage {
        SYSTEM => {
            let node = cluster.cloud.instances[id].dns.clone();
            let flavour = Flavour::Capi {
                machine: machine.to_owned(),
            };
            let mut host = Host::new(flavour, &node, kubeadm::config(bootstrap, &cluster.facts));
            let faults = &mut cluster.faults;
            if !bootstrap.init && faults.failing_joins > 0 {
                faults.failing_joins -= 1;
                faults.joins_failed += 1;
                host.join_failed = true;
            }
            cluster.hosts.insert(id.to_owned(), host);
            Some(if bootstrap.init { ETCD } else { KUBELET })
        }
        ETCD => match kubeadm::etcd_start(bootstrap) {
            EtcdStart::Join { learner } => etcd::add(cluster, id, learner).then_some(ETCD_MANIFEST),
            EtcdStart::Alone => {
                cluster.accident(
                    now,
                    "the first machine made an etcd of its own: its cluster is empty",
                );
                cluster.hosts.get_mut(id)?.lone_etcd = true;
                Some(ETCD_MANIFEST)
            }
        },
        KUBELET => {
            nodes::register(cluster, id, now);
            Some(MEMBER)
        }
        MEMBER => etcd::add(cluster, id, false).then_some(ETCD_MANIFEST),
        ETCD_MANIFEST => {
            cluster.hosts.get_mut(id)?.place(Proc::Etcd);
            Some(MANIFESTS)
        }
        MANIFESTS => {
            let host = cluster.hosts.get_mut(id)?;
            for proc in [Proc::ApiServer, Proc::ControllerManager, Proc::Scheduler] {
                host.place(proc);
            }
            if kubeadm::has_api_healthz(bootstrap) {
                host.place(Proc::ApiHealthz);
            }
            Some(FINISH)
        }
        _ => {
            finish(cluster, id, bootstrap, now);
            Some(ec2::BOOTED)
        }
    }
}

fn finish(cluster: &mut Cluster, id: &str, bootstrap: &Bootstrap, now: Timestamp) {
    if !bootstrap.init {
        return;
    }
    let realm_name = api::realm_name(id, &cluster.hosts[id]);
    let facts = &cluster.facts;
    let config = bootstrap.spec["clusterConfiguration"].to_string();
    let realm = cluster
        .realms
        .entry(realm_name.clone())
        .or_insert_with(|| Store::new(format!("{}-{realm_name}", facts.id)));
    for (name, key, value) in [
        ("kubeadm-config", "ClusterConfiguration", config),
        (
            "kubelet-config",
            "kubelet",
            "kind: KubeletConfiguration\n".to_owned(),
        ),
    ] {
        realm.put(
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "kube-system"},
                "data": {key: value},
            }),
            now,
        );
    }
    if realm_name == VINTAGE_REALM {
        nodes::register(cluster, id, now);
    } else {
        cluster.accident(now, "the first machine shows an empty cluster");
    }
}
