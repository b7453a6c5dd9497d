//! The machine booter: every control-plane instance that CAPA has made and that runs is booted with its Machine's own
//! bootstrap data; one that is terminated loses its power.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use drover_model::names;
use kube::{Client, api::ListParams};

use crate::{
    api,
    cloud::{Cloud, Instance},
    hosts::Hosts,
    machines::Machines,
    node::NodeSpec,
    pki::Ca,
    place::{Parts, Place},
    scenario::NAMESPACE,
    space::Space,
    town::CLUSTER,
    vintage,
};

/// Between two looks at the instances.
const LOOK: Duration = Duration::from_millis(1000);

/// Boots machines.
pub(crate) struct Booter<'l> {
    place: &'l Place,
    parts: &'l Parts,
    cloud: &'l Cloud,
    hosts: &'l Hosts,
    capi: Client,
    ca: &'l Ca,
    /// Nodes that have power, by instance: the vintage masters' too.
    nodes: BTreeMap<String, Space>,
    /// Instances that were begun once: an instance never begins anew.
    begun: BTreeSet<String>,
    /// Cluster API machines that were begun.
    booted: usize,
}

impl<'l> Booter<'l> {
    /// A booter for a cluster whose masters have power already.
    pub(crate) fn new(
        place: &'l Place,
        parts: &'l Parts,
        cloud: &'l Cloud,
        hosts: &'l Hosts,
        capi: Client,
        ca: &'l Ca,
        masters: BTreeMap<String, Space>,
    ) -> Self {
        Self {
            place,
            parts,
            cloud,
            hosts,
            capi,
            ca,
            begun: masters.keys().cloned().collect(),
            nodes: masters,
            booted: 0,
        }
    }

    /// Boots and powers off for as long as the lab runs; tells `say` of it.
    pub(crate) async fn run(mut self, say: impl Fn(&str)) -> anyhow::Result<()> {
        loop {
            let instances = self.cloud.running_instances(&[]).await?;
            let running: BTreeSet<&str> = instances
                .iter()
                .map(|instance| instance.id.as_str())
                .collect();
            let off: Vec<String> = self
                .nodes
                .keys()
                .filter(|id| !running.contains(id.as_str()))
                .cloned()
                .collect();
            for id in off {
                if let Some(space) = self.nodes.remove(&id) {
                    space.kill().await;
                    say(&format!("{id} has lost its power"));
                }
            }
            for instance in &instances {
                if self.is_new(instance)
                    && let Some(data) = self.bootstrap(instance).await?
                {
                    let space = self.boot(instance, &data).await?;
                    self.begun.insert(instance.id.clone());
                    self.booted += 1;
                    self.nodes.insert(instance.id.clone(), space);
                    say(&format!(
                        "{} boots as {}",
                        instance.id, instance.private_dns
                    ));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_new(&self, instance: &Instance) -> bool {
        let tags = &instance.tags;
        !self.begun.contains(&instance.id)
            && tags.contains_key(&names::tag_capa_cluster(CLUSTER))
            && tags
                .get(names::TAG_CAPA_ROLE)
                .is_some_and(|role| role == "control-plane")
    }

    /// The bootstrap data of the instance's Machine, once CAPA has told whose it is.
    async fn bootstrap(&self, instance: &Instance) -> anyhow::Result<Option<String>> {
        let infrastructure = "infrastructure.cluster.x-k8s.io/v1beta2";
        let machines =
            api::resource(&self.capi, infrastructure, "AWSMachine", Some(NAMESPACE)).await?;
        let machines = machines.list(&ListParams::default()).await?;
        let Some(machine) = machines
            .into_iter()
            .find(|machine| machine.data["spec"]["instanceID"] == instance.id.as_str())
        else {
            return Ok(None);
        };
        let owners = machine.metadata.owner_references.unwrap_or_default();
        let Some(owner) = owners.into_iter().find(|owner| owner.kind == "Machine") else {
            return Ok(None);
        };
        let machines = api::resource(
            &self.capi,
            "cluster.x-k8s.io/v1beta1",
            "Machine",
            Some(NAMESPACE),
        )
        .await?;
        let machine = machines.get(&owner.name).await?;
        let Some(secret) = machine.data["spec"]["bootstrap"]["dataSecretName"].as_str() else {
            return Ok(None);
        };
        let secrets = api::resource(&self.capi, "v1", "Secret", Some(NAMESPACE)).await?;
        let secret = secrets.get(secret).await?;
        let value = secret.data["data"]["value"]
            .as_str()
            .context("bootstrap data without a value")?;
        Ok(Some(String::from_utf8(STANDARD.decode(value)?)?))
    }

    async fn boot(&self, instance: &Instance, data: &str) -> anyhow::Result<Space> {
        let folder = self.place.path(format!("nodes/{}", instance.private_dns));
        fs::create_dir_all(folder.join("logs"))?;
        let bootstrap = folder.join("bootstrap.json");
        fs::write(&bootstrap, data)?;
        let address = instance
            .private_ip
            .context("a running instance without an address")?;
        // The VPC's own name server knows every instance.
        self.hosts.set(&instance.private_dns, address.into())?;
        vintage::lay_kubelet_serving(
            self.ca,
            &folder.join("upper"),
            &instance.private_dns,
            address,
        )?;
        let machines = Machines::read(self.place)?;
        let spec = NodeSpec {
            instance: instance.id.clone(),
            name: instance.private_dns.clone(),
            address,
            provider_id: format!("aws:///{}/{}", instance.zone, instance.id),
            labels: [
                ("kubernetes.io/hostname", instance.private_dns.as_str()),
                ("kubernetes.io/os", "linux"),
                ("topology.kubernetes.io/zone", instance.zone.as_str()),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            hosts: self.place.hosts(),
            programs: self.parts.programs(),
            lab: std::env::current_exe()?,
            kubeconfig: "/etc/kubernetes/admin.conf".to_owned(),
            kubelet_serving: Some((
                "/etc/kubernetes/ssl/kubelet.pem".to_owned(),
                "/etc/kubernetes/ssl/kubelet-key.pem".to_owned(),
            )),
            units: BTreeMap::new(),
            bootstrap: Some(bootstrap),
            bind: machines.bind,
            join_fails: machines.join_fails.filter(|_| self.booted == 1),
            folder,
        };
        begin(&spec, self.begun.len()).await
    }
}

/// Gives a node power. `number` is unique among the nodes of a lab.
pub(crate) async fn begin(spec: &NodeSpec, number: usize) -> anyhow::Result<Space> {
    let file = NodeSpec::file(&spec.folder);
    fs::write(&file, serde_json::to_vec_pretty(spec)?)?;
    let interface = format!("node{number}");
    let file = file.display().to_string();
    let args = ["inside", "node", "--spec", &file];
    let log = spec.log("agent");
    Space::begin(&interface, spec.address, &spec.lab, &args, &log)
        .await
        .with_context(|| format!("give {} power", spec.name))
}
