//! Other orders of the delicate minute, played by hand from the point where the first node is verified: what the chosen order
//! is measured against. Each of them is one that somebody could think good enough.

use std::{fs, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use kube::api::{Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    api,
    cloud::Clients,
    machines::{JoinFails, Machines},
    management::until,
    place::{Parts, Place},
    proofs,
    scenario::NAMESPACE,
    story::say,
    town::{CLOUD, CLUSTER, Facts},
};

/// In which order customers, old API servers and etcd go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// The definition's: traffic, then old API servers, then leadership, then release
    Chosen,
    /// As chosen, but leadership stays with a vintage member until it is removed
    LeaderStays,
    /// Release first; masters leave the load balancers once they have lost etcd
    TrafficAfter,
    /// As traffic-after, but node 1 stands behind etcd's load balancer too, so that the old API servers go on
    EtcdBalancer,
    /// As chosen, but the new nodes' API servers bind 6443 while the masters' advertise 443
    BindPorts,
    /// As chosen, but the second node's `kubeadm join` fails before it has changed anything
    FailedJoin,
    /// As chosen, but the second node's etcd never starts: kubeadm has added it, and gives up
    FailedMember,
    /// As traffic-after, with one vintage member that hangs: what does the control plane's controller do?
    SickMember,
}

/// How long the customer is watched after convergence.
const AFTERWARDS: Duration = Duration::from_secs(40);

impl Order {
    /// The last step that the workflow itself plays; all of them in the chosen order.
    pub(crate) fn until(self) -> Option<&'static str> {
        match self {
            Self::Chosen | Self::BindPorts | Self::FailedJoin | Self::FailedMember => None,
            Self::LeaderStays => Some("stop-vintage-control-plane"),
            Self::TrafficAfter | Self::EtcdBalancer | Self::SickMember => Some("verify-first-node"),
        }
    }

    /// What is different about the new machines.
    pub(crate) fn machines(self) -> Machines {
        Machines {
            bind: (self == Self::BindPorts).then_some(6443),
            join_fails: match self {
                Self::FailedJoin => Some(JoinFails::AtOnce),
                Self::FailedMember => Some(JoinFails::WithoutEtcd),
                _ => None,
            },
        }
    }

    /// Several times longer than it takes; a machine that does not join has a quarter of an hour.
    pub(crate) fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::FailedJoin | Self::FailedMember => 45 * 60,
            _ => 15 * 60,
        })
    }

    /// Plays the rest of it.
    pub(crate) async fn play(
        self,
        place: &Place,
        parts: &Parts,
        facts: &Facts,
    ) -> anyhow::Result<()> {
        let hand = Hand::new(place, parts, facts).await?;
        match self {
            Self::Chosen | Self::BindPorts | Self::FailedJoin | Self::FailedMember => return Ok(()),
            Self::LeaderStays => {
                hand.lead_by_a_vintage_member().await?;
                hand.converge().await?;
            }
            Self::TrafficAfter => {
                hand.node_behind(&facts.plan.load_balancers.api).await?;
                hand.converge().await?;
                hand.masters_off().await?;
            }
            Self::SickMember => {
                hand.node_behind(&facts.plan.load_balancers.api).await?;
                freeze("--name=etcd3")?;
                hand.converge().await?;
                hand.masters_off().await?;
            }
            Self::EtcdBalancer => {
                hand.node_behind(&facts.plan.load_balancers.api).await?;
                hand.node_behind(&facts.plan.load_balancers.etcd).await?;
                hand.converge().await?;
                tokio::time::sleep(AFTERWARDS).await;
                hand.masters_off().await?;
            }
        }
        tokio::time::sleep(AFTERWARDS).await;
        Ok(())
    }
}

/// Holds a process still that was begun with this argument: it is there and says nothing.
fn freeze(argument: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        if words.any(|word| word == argument.as_bytes())
            && let Some(pid) = Pid::from_raw(pid)
        {
            kill_process(pid, Signal::STOP)?;
            say(&format!("           by hand: {argument} hangs"));
            return Ok(());
        }
    }
    anyhow::bail!("no process was begun with {argument}")
}

/// The hand that plays.
struct Hand<'l> {
    place: &'l Place,
    parts: &'l Parts,
    facts: &'l Facts,
    cloud: Clients,
    /// The first Cluster API node and its instance.
    node: String,
    instance: String,
}

impl<'l> Hand<'l> {
    async fn new(place: &'l Place, parts: &'l Parts, facts: &'l Facts) -> anyhow::Result<Self> {
        let capi = api::client(&place.kubeconfig("capi-mc")).await?;
        let kind = "cluster.x-k8s.io/v1beta1";
        let machines = api::resource(&capi, kind, "Machine", Some(NAMESPACE)).await?;
        let machines = machines.list(&kube::api::ListParams::default()).await?;
        let machine = machines.into_iter().next().context("there is no Machine")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let node = text(&machine.data["status"]["nodeRef"]["name"]).context("it has no Node")?;
        let provider = text(&machine.data["spec"]["providerID"]).context("it has no instance")?;
        let instance = provider.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Self {
            place,
            parts,
            facts,
            cloud: Clients::new(&format!("http://{CLOUD}"), &facts.shape.region),
            node,
            instance,
        })
    }

    /// Releases the control plane and waits until node 1 is the only member.
    async fn converge(&self) -> anyhow::Result<()> {
        let capi = api::client(&self.place.kubeconfig("capi-mc")).await?;
        let kind = "controlplane.cluster.x-k8s.io/v1beta1";
        let planes = api::resource(&capi, kind, "KubeadmControlPlane", Some(NAMESPACE)).await?;
        let patch = json!({"metadata": {"annotations": {"cluster.x-k8s.io/paused": null}}});
        planes
            .patch(CLUSTER, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        say("           by hand: the control plane is released");
        until("convergence", Duration::from_secs(180), async || {
            let members = proofs::members(self.place, self.parts, &self.node).await?;
            let vintage = members
                .iter()
                .filter(|name| name.starts_with("etcd"))
                .count();
            anyhow::ensure!(vintage == 0, "{} vintage members are left", vintage);
            Ok(())
        })
        .await?;
        say("           by hand: the vintage members are gone");
        Ok(())
    }

    async fn lead_by_a_vintage_member(&self) -> anyhow::Result<()> {
        let etcd = self.facts.plan.endpoints.etcd.as_str();
        let listed = proofs::etcdctl(self.place, self.parts, etcd, &["member", "list"]).await?;
        let listed: Value = serde_json::from_str(&listed)?;
        let members = listed["members"].as_array().context("no members")?;
        let first = members
            .iter()
            .find(|member| member["name"] == "etcd1")
            .context("no etcd1")?;
        let id = format!("{:x}", first["ID"].as_u64().context("no id")?);
        // Only the leader hands leadership on; whoever else is asked refuses.
        for master in self
            .facts
            .plan
            .masters
            .iter()
            .map(|master| master.node.clone())
            .chain([self.node.clone()])
        {
            if proofs::etcdctl(self.place, self.parts, &master, &["move-leader", &id])
                .await
                .is_ok()
            {
                break;
            }
        }
        say("           by hand: a vintage member leads");
        Ok(())
    }

    /// Node 1 beside the masters.
    async fn node_behind(&self, balancer: &str) -> anyhow::Result<()> {
        let instance = aws_sdk_elasticloadbalancing::types::Instance::builder()
            .instance_id(&self.instance)
            .build();
        self.cloud
            .elb
            .register_instances_with_load_balancer()
            .load_balancer_name(balancer)
            .instances(instance)
            .send()
            .await?;
        until(
            "node 1 behind a load balancer",
            Duration::from_secs(60),
            async || {
                let health = self
                    .cloud
                    .elb
                    .describe_instance_health()
                    .load_balancer_name(balancer)
                    .send()
                    .await?;
                let serves = health.instance_states().iter().any(|state| {
                    state.instance_id() == Some(&self.instance)
                        && state.state() == Some("InService")
                });
                anyhow::ensure!(serves, "it is not in service");
                Ok(())
            },
        )
        .await?;
        say(&format!(
            "           by hand: node 1 stands behind {balancer}"
        ));
        Ok(())
    }

    async fn masters_off(&self) -> anyhow::Result<()> {
        let instances: Vec<_> = self
            .facts
            .plan
            .master_instances()
            .into_iter()
            .map(|id| {
                aws_sdk_elasticloadbalancing::types::Instance::builder()
                    .instance_id(id)
                    .build()
            })
            .collect();
        let balancers = &self.facts.plan.load_balancers;
        for balancer in [&balancers.api, &balancers.api_internal] {
            self.cloud
                .elb
                .deregister_instances_from_load_balancer()
                .load_balancer_name(balancer)
                .set_instances(Some(instances.clone()))
                .send()
                .await?;
        }
        say("           by hand: the masters are off the load balancers");
        Ok(())
    }
}
