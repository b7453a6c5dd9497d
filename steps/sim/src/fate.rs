//! What can happen to a cluster without anybody calling for it: for tests of preflight checks, guards and rules.

use drover_model::{cr::keys, names};
use drover_ports::Route;
use drover_step_api::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    objects::Key,
    rules::{self, ec2},
    state::{Cluster, VINTAGE_REALM},
};

/// Something that happens to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// etcd raises an alarm, for example `NOSPACE on etcd1`.
    EtcdAlarm(String),
    /// The alarms are gone.
    EtcdAlarmsClear,
    /// The role for CAPA is not there, or trusts somebody else.
    CapaRoleWithdrawn,
    /// The role is there again.
    CapaRoleGranted,
    /// All subnets of the control plane are left with this many addresses.
    SubnetsFilled(u32),
    /// One address of a subnet becomes free.
    AddressFreed(String),
    /// An instance dies.
    InstanceDies(String),
    /// An instance's kubelet stops working.
    KubeletBreaks(String),
    /// The first Cluster API machine will never boot; the one that replaces it will.
    FirstMachineNeverBoots,
    /// So many of the next machines that join the control plane fail to: `kubeadm join` ends, and nobody tries again.
    JoinsFail(u32),
    /// So many of the next nodes of Cluster API pools never come up.
    PoolNodesNeverComeUp(u32),
    /// The owner of a budget (`namespace/name`) lets so many of its pods be down by somebody's will; with 0 it blocks every drain.
    BudgetAllows(String, u32),
    /// `etcd-cluster-migrator` is applied and runs.
    MigratorWakes,
    /// A rotation of the encryption key begins.
    EncryptionRotates,
    /// A CloudFormation stack is being updated (true), or has been (false).
    StackUpdates(bool),
    /// Somebody takes the routes to this destination out of every route table.
    RouteRemoved(String),
    /// Somebody puts a route into every route table of a subnet: destination and target.
    RouteAdded(String, String),
    /// The customer deletes the cluster.
    CustomerDeletes,
}

impl Fate {
    /// Lets it happen. False when it changed nothing.
    pub(crate) fn befall(&self, cluster: &mut Cluster, now: Timestamp) -> bool {
        match self {
            Self::EtcdAlarm(alarm) => cluster.etcd.alarms.insert(alarm.clone()),
            Self::EtcdAlarmsClear => {
                let had = !cluster.etcd.alarms.is_empty();
                cluster.etcd.alarms.clear();
                had
            }
            Self::CapaRoleWithdrawn => {
                std::mem::replace(&mut cluster.cloud.capa_role_trusted, false)
            }
            Self::CapaRoleGranted => !std::mem::replace(&mut cluster.cloud.capa_role_trusted, true),
            Self::SubnetsFilled(left) => {
                for subnet in cluster.cloud.subnets.values_mut() {
                    subnet.available_ips = *left;
                }
                true
            }
            Self::AddressFreed(id) => {
                let subnet = cluster.cloud.subnets.get_mut(id);
                subnet.is_some_and(|subnet| {
                    subnet.available_ips += 1;
                    true
                })
            }
            Self::InstanceDies(id) => ec2::terminate(cluster, id),
            Self::KubeletBreaks(id) => {
                if let Some(host) = cluster.hosts.get_mut(id) {
                    host.kubelet = false;
                }
                let instance = cluster.cloud.instances.get_mut(id);
                instance.is_some_and(|instance| std::mem::replace(&mut instance.kubelet, false))
            }
            Self::FirstMachineNeverBoots => !std::mem::replace(&mut cluster.faults.never_up, true),
            Self::JoinsFail(count) => {
                std::mem::replace(&mut cluster.faults.failing_joins, *count) != *count
            }
            Self::PoolNodesNeverComeUp(count) => {
                std::mem::replace(&mut cluster.faults.lost_pool_nodes, *count) != *count
            }
            Self::BudgetAllows(budget, count) => {
                let (namespace, name) = budget.split_once('/').unwrap_or(("default", budget));
                let key = Key::new("policy", "PodDisruptionBudget", namespace, name);
                let realm = cluster.realms.get_mut(VINTAGE_REALM);
                realm.is_some_and(|realm| {
                    realm.edit(&key, |budget| {
                        budget["spec"]["maxUnavailable"] = json!(count);
                    })
                })
            }
            Self::MigratorWakes => {
                rules::wake_migrator(cluster, now);
                true
            }
            Self::EncryptionRotates => {
                let name = names::encryption_secret(&cluster.facts.id);
                let key = Key::secret(&cluster.facts.namespace, &name);
                cluster.vintage.edit(&key, |secret| {
                    secret["metadata"]["annotations"][keys::ROTATION_IN_PROGRESS] = json!("true");
                })
            }
            Self::StackUpdates(begins) => {
                let status = if *begins {
                    "UPDATE_IN_PROGRESS"
                } else {
                    "UPDATE_COMPLETE"
                };
                let name = format!("cluster-{}-{}", cluster.facts.id, names::STACK_MASTERS);
                cluster
                    .cloud
                    .stacks
                    .insert(name, status.to_owned())
                    .is_none_or(|before| before != status)
            }
            Self::RouteRemoved(destination) => {
                let mut removed = false;
                for table in cluster.cloud.route_tables.values_mut() {
                    let before = table.routes.len();
                    table
                        .routes
                        .retain(|route| route.destination != *destination);
                    removed |= table.routes.len() != before;
                }
                removed
            }
            Self::RouteAdded(destination, target) => {
                let tables = cluster.cloud.route_tables.values_mut();
                for table in tables.filter(|table| !table.main) {
                    table.routes.push(Route {
                        destination: destination.clone(),
                        target: target.clone(),
                    });
                    table
                        .routes
                        .sort_by(|a, b| a.destination.cmp(&b.destination));
                }
                true
            }
            Self::CustomerDeletes => {
                let key = cluster.key(keys::CAPI_GROUP, "Cluster", &cluster.facts.id);
                cluster.vintage.delete(&key, now)
            }
        }
    }
}
