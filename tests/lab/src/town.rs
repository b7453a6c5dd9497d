//! Everything that runs in a lab, begun in the order in which one part needs another. This is the lab's own process; when it
//! ends, everything ends.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use drover_model::{ClusterPlan, NetworkPlan, Partition, names};
use drover_ports::SecretRef;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api, booter,
    booter::Booter,
    cloud::{Cloud, CloudPlan, Fault, GenesisPlan},
    dns,
    hosts::Hosts,
    management::{self, Management, begin_controllers, until},
    place::{Parts, Place, ours},
    prober,
    process::{Spec, keep},
    scenario::{self, CloudSide, INSTALLATION, ORGANIZATION},
    space::{self, Space},
    vintage::{self, Identity, MasterMachine},
};

/// The cluster's id.
pub(crate) const CLUSTER: &str = "lab7k";
/// Base domain of its vintage names.
const BASE: &str = "golem.lab.example";
const ACCOUNT: &str = "123456789012";
/// moto, which nobody but the front talks to.
const MOTO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);
/// AWS, as everybody else sees it.
pub(crate) const CLOUD: &str = "10.250.0.10:4566";
/// Where the coordinator listens.
pub(crate) const COORDINATOR: &str = "127.0.0.1:7411";

/// How a lab is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// AWS region; its partition follows from it.
    pub region: String,
    /// 1 or 3.
    pub masters: u32,
    /// Leases: `lan`, or `test` for tests that kill.
    pub profile: String,
    /// Faults of AWS, in the words of the command line.
    pub faults: Vec<String>,
}

/// What commands inside a running lab have to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// How it was made.
    pub shape: Shape,
    /// The plan of its cluster's migration.
    pub plan: ClusterPlan,
    /// Secrets that earlier steps would have copied.
    pub secrets: Vec<SecretRef>,
}

impl Facts {
    /// Reads them.
    pub(crate) fn read(place: &Place) -> anyhow::Result<Self> {
        let file = place.path("facts.json");
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }
}

/// Begins everything and keeps it until this process is killed.
pub(crate) async fn run(place: &Place, shape: Shape) -> anyhow::Result<()> {
    let parts = Parts::find()?;
    let hosts = Hosts::new(place.hosts())?;
    space::lay(&place.hosts()).await?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());

    say(place, "AWS begins");
    let port = MOTO.port().to_string();
    let moto = Spec::new(
        "moto",
        place.log("moto"),
        &parts.moto(),
        &["-H", "127.0.0.1", "-p", &port],
    )
    .env("MOTO_ACCOUNT_ID", ACCOUNT)
    .env("MOTO_AMIS_PATH", &images(place, &shape)?);
    keep(moto)?;
    let cloud_plan = CloudPlan {
        moto: MOTO,
        listen: CLOUD.parse()?,
        pool: "10.254.0.0/24".parse()?,
        region: shape.region.clone(),
        logs: place.path("logs"),
    };
    until("moto", Duration::from_secs(60), async || {
        tokio::net::TcpStream::connect(MOTO)
            .await
            .map(drop)
            .map_err(anyhow::Error::from)
    })
    .await?;
    let cloud = Cloud::start(cloud_plan, hosts.clone(), &tasks, stop.clone()).await?;
    let genesis = cloud
        .genesis(&GenesisPlan {
            id: CLUSTER.to_owned(),
            installation: INSTALLATION.to_owned(),
            organization: ORGANIZATION.to_owned(),
            region: shape.region.clone(),
            account: ACCOUNT.to_owned(),
            vpc_cidr: space::VPC.parse()?,
            zones: 3,
            masters: shape.masters as usize,
        })
        .await
        .context("the vintage cluster's AWS side")?;

    let faults = shape.faults.iter().map(|word| Fault::parse(word));
    let faults = faults.collect::<anyhow::Result<_>>()?;

    say(place, "the vintage control plane begins");
    let partition = Partition::of_region(&shape.region);
    let identity = Identity::new(CLUSTER, BASE, &partition.sts_audience(), place, &parts).await?;
    let masters: Vec<MasterMachine> = genesis
        .masters
        .iter()
        .zip(names::etcd_members(shape.masters))
        .map(|(master, member)| MasterMachine {
            instance: master.instance.clone(),
            node: master.private_dns.clone(),
            address: master.private_ip,
            zone: master.zone.clone(),
            member,
        })
        .collect();
    name_balancers(&genesis.load_balancers, &hosts, &identity).await?;
    let mut nodes: BTreeMap<String, Space> = BTreeMap::new();
    for (n, master) in masters.iter().enumerate() {
        hosts.set(&identity.member(&master.member), master.address.into())?;
        hosts.set(&master.node, master.address.into())?;
        let spec = vintage::lay(&identity, master, &masters, place, &parts, n + 1)?;
        nodes.insert(master.instance.clone(), booter::begin(&spec, n).await?);
    }
    let server = format!("https://{}:443", identity.old_api());
    let kubeconfig = identity.ca.kubeconfig(&server, "lab", "system:masters")?;
    fs::write(place.kubeconfig("workload"), kubeconfig)?;

    say(place, "the management clusters begin");
    let (vintage_mc, capi_mc) = tokio::try_join!(
        Management::begin(management::VINTAGE, place, &parts),
        Management::begin(management::CAPI, place, &parts),
    )?;
    management::vintage_kinds(&vintage_mc.client).await?;
    scenario::lay_vintage(&vintage_mc.client, &identity).await?;
    let endpoint = cloud.endpoint();
    begin_controllers(&capi_mc.client, place, &parts, &endpoint).await?;
    let secrets = scenario::lay_capi(&capi_mc.client, &identity).await?;

    let workload = management::ready(&place.kubeconfig("workload"), Duration::from_secs(180))
        .await
        .context("the vintage API by its old name")?;
    lay_workload(&workload, shape.masters.into()).await?;
    let side = CloudSide {
        region: shape.region.clone(),
        account: ACCOUNT.to_owned(),
        network: NetworkPlan {
            pod_cidr: vintage::PODS.to_owned(),
            service_cidr: vintage::SERVICES.to_owned(),
            node_cidr_mask: vintage::NODE_MASK,
            ..genesis.network.clone()
        },
        groups: genesis
            .masters
            .iter()
            .map(|master| (master.instance.clone(), master.auto_scaling_group.clone()))
            .collect(),
    };
    let plan = scenario::plan(&identity, &masters, &side);
    let facts = Facts {
        shape,
        plan,
        secrets,
    };
    fs::write(place.path("facts.json"), serde_json::to_vec_pretty(&facts)?)?;

    // What was laid until now is no part of the migration.
    cloud.faults().set(faults);
    say(place, "Drover begins");
    keep(coordinator(place, &facts.shape)?)?;
    keep(worker(place, &facts.shape, &endpoint)?)?;
    let names = dns::follow(place.clone(), hosts.clone());
    let stopped = stop.clone();
    tasks.spawn(async move { stopped.run_until_cancelled(names).await });
    let booter = Booter::new(
        place,
        &parts,
        &cloud,
        &hosts,
        capi_mc.client.clone(),
        &identity.ca,
        nodes,
    );
    fs::write(place.path("ready"), "")?;
    say(place, "ready");
    let ended = booter.run(|line| say(place, line)).await;
    stop.cancel();
    ended
}

/// A line in the lab's own log, and for whoever waits for it to begin.
fn say(place: &Place, line: &str) {
    use std::io::Write as _;
    let file = fs::File::options()
        .create(true)
        .append(true)
        .open(place.path("story"));
    if let Ok(mut file) = file {
        // The story is for people; a lab goes on without it.
        drop(writeln!(file, "{} {line}", jiff::Timestamp::now()));
    }
}

/// The images that AWS has: the one that CAPA looks up for the lab's Kubernetes version, of Flatcar's own account.
fn images(place: &Place, shape: &Shape) -> anyhow::Result<String> {
    let owner = Partition::of_region(&shape.region)
        .flatcar_owner()
        .context("no Flatcar in this partition")?;
    let name = format!("flatcar-stable-kube-{}-gs", scenario::KUBERNETES);
    let images = json!([{
        "ami_id": "ami-0f1a7ca700000000a", "name": name, "owner_id": owner, "public": true,
        "virtualization_type": "hvm", "architecture": "x86_64", "hypervisor": "xen",
        "root_device_name": "/dev/xvda", "root_device_type": "ebs",
        "creation_date": "2025-01-01T00:00:00.000Z",
    }]);
    let file = place.path("images.json");
    fs::write(&file, images.to_string())?;
    Ok(file.display().to_string())
}

/// The vintage names are their load balancers' addresses.
async fn name_balancers(
    balancers: &BTreeMap<String, String>,
    hosts: &Hosts,
    identity: &Identity,
) -> anyhow::Result<()> {
    let id = identity.id.as_str();
    let names = [
        (identity.old_api(), names::api_load_balancer(id)),
        (
            format!("internal-{}", identity.old_api()),
            names::internal_api_load_balancer(id),
        ),
        (identity.etcd(), names::etcd_load_balancer(id)),
    ];
    for (name, balancer) in names {
        let dns_name = balancers
            .get(&balancer)
            .context("a vintage load balancer is missing")?;
        let address = until(&balancer, Duration::from_secs(30), async || {
            hosts.get(dns_name).context("has no address yet")
        })
        .await?;
        hosts.set(&name, address)?;
    }
    Ok(())
}

/// What the customer has in the cluster: something to read and write, and pods in the hosts' networks.
async fn lay_workload(client: &kube::Client, masters: u64) -> anyhow::Result<()> {
    for n in 0..prober::ALL {
        let probe = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("probe-{n}"), "namespace": "default"}, "data": {"n": "0"},
        });
        api::apply(client, &probe).await?;
    }
    let known = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "known", "namespace": "default"}, "stringData": {"word": "written before the migration"},
    });
    api::apply(client, &known).await?;
    for n in 0..200 {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("keyspace-{n:03}"), "namespace": "default"},
            "data": {"n": n.to_string()},
        });
        api::apply(client, &object).await?;
    }
    let labels = json!({"app.kubernetes.io/name": "cilium", "app.kubernetes.io/part-of": "cilium"});
    let cilium = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "cilium", "namespace": "kube-system", "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": "cilium"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": true,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "cilium-agent", "image": "registry.lab/giantswarm/cilium:lab"}],
                },
            },
        },
    });
    api::apply(client, &cilium).await?;
    // Controllers work: what they make of it is there.
    until(
        "the vintage controllers",
        Duration::from_secs(120),
        async || {
            let accounts = api::resource(client, "v1", "ServiceAccount", Some("default")).await?;
            accounts.get("default").await?;
            let sets = api::resource(client, "apps/v1", "DaemonSet", Some("kube-system")).await?;
            let status = sets.get("cilium").await?.data["status"].clone();
            let (wanted, ready) = (&status["desiredNumberScheduled"], &status["numberReady"]);
            anyhow::ensure!(
                wanted == ready && ready.as_u64() == Some(masters),
                "{ready} of {wanted} pods are ready"
            );
            Ok(())
        },
    )
    .await
}

fn coordinator(place: &Place, shape: &Shape) -> anyhow::Result<Spec> {
    let data = place.path("data/coordinator").display().to_string();
    let args = [
        "--data",
        &data,
        "--listen",
        COORDINATOR,
        "--profile",
        &shape.profile,
    ];
    let program = ours("drover-coordinator")?;
    Ok(Spec::new(
        "coordinator",
        place.log("coordinator"),
        &program,
        &args,
    ))
}

fn worker(place: &Place, shape: &Shape, endpoint: &str) -> anyhow::Result<Spec> {
    let text = |path: std::path::PathBuf| path.display().to_string();
    let (spool, store) = (
        text(place.path("data/spool")),
        text(place.path("data/store")),
    );
    let vintage = text(place.kubeconfig(management::VINTAGE.name));
    let capi = text(place.kubeconfig(management::CAPI.name));
    let ledger = text(place.path("ledger.jsonl"));
    fs::create_dir_all(place.path("data/store"))?;
    let args = [
        "--coordinator",
        COORDINATOR,
        "--installation",
        INSTALLATION,
        "--id",
        "golem-1",
        "--spool",
        &spool,
        "--vintage-kubeconfig",
        &vintage,
        "--capi-kubeconfig",
        &capi,
        "--region",
        &shape.region,
        "--aws-endpoint",
        endpoint,
        "--store",
        &store,
        "--ledger",
        &ledger,
    ];
    let program = ours("drover-worker")?;
    Ok(Spec::new("worker", place.log("worker"), &program, &args)
        .env("AWS_ACCESS_KEY_ID", "AKIALAB")
        .env("AWS_SECRET_ACCESS_KEY", "lab")
        .env("AWS_EC2_METADATA_DISABLED", "true"))
}
