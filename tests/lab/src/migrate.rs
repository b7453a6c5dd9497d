//! A migration in a running lab: Drover's own workflow, a prober beside it, and what must be so afterwards. Runs inside.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    after_care::{self, AfterCare},
    api,
    cloud::Clients,
    coordinator::Client,
    definition,
    endpoints::{Endpoints, Service},
    kill::Kills,
    ledger,
    order::Order,
    place::{Parts, Place},
    prober::{Name, Prober, Seen, Way},
    proofs::{self, Proofs},
    scenario::{INSTALLATION, NAMESPACE},
    story::Story,
    tls::Tls,
    town::{CLOUD, CLUSTER, Facts},
};

/// What is asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Last step that is played; all of them when left out
    #[arg(long, value_name = "STEP")]
    pub until: Option<String>,
    /// SIGKILL of coordinator and worker: `every` step boundary, a step's id for its begin, or STEP+SECONDS for the middle of it
    #[arg(long, value_name = "WHEN")]
    pub kill: Vec<String>,
    /// In which order the delicate minute goes
    #[arg(
        long,
        value_name = "ORDER",
        value_enum,
        default_value = "chosen",
        conflicts_with = "until"
    )]
    pub order: Order,
    /// Also do what the after-care does, once it is migrated
    #[arg(long, conflicts_with = "until")]
    pub after_care: bool,
    /// Also hold what the worker changed against what was agreed for this stretch
    #[arg(long)]
    pub compare: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Partition of the lab.
    pub partition: String,
    /// Order of the delicate minute.
    pub order: String,
    /// Seconds from start to end.
    pub seconds: f64,
    /// When each step began and ended, seconds after the start.
    pub steps: Vec<StepTimes>,
    /// What was seen through each name.
    pub seen: BTreeMap<String, Seen>,
    /// What became of the API's service inside the cluster.
    pub service: Service,
    /// What held.
    pub proofs: Option<Proofs>,
    /// Members of etcd afterwards.
    pub members: Vec<String>,
    /// Nodes of the Cluster API machines afterwards.
    pub nodes: Vec<String>,
    /// Who is registered at the API's vintage load balancers afterwards: Cluster API nodes by name, others by instance id.
    pub registrations: BTreeMap<String, Vec<String>>,
    /// Processes that were killed.
    pub kills: Vec<String>,
    /// What came of the after-care.
    pub after_care: Option<AfterCare>,
}

/// One step's times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StepTimes {
    /// Step id.
    pub id: String,
    /// Seconds after the start.
    pub began: f64,
    /// Seconds after the start.
    pub ended: f64,
    /// Attempts it took.
    pub attempts: u32,
}

/// Migrates the lab's cluster, and says on stderr how it goes.
pub(crate) async fn migrate(place: &Place, args: &MigrateArgs) -> anyhow::Result<Report> {
    let parts = Parts::find()?;
    let facts = Facts::read(place)?;
    let etcd = facts.plan.endpoints.etcd.clone();
    keep_identity(place)?;
    let before = proofs::before(place, &parts, &etcd).await?;
    let mut client = Client::connect().await?;
    client.worker().await?;
    let last = args.until.as_deref().or(args.order.until());
    client.register(&definition::derive(last)?).await?;
    let id = format!("lab-{}", jiff::Timestamp::now().as_second());
    args.order.machines().leave(place)?;
    let endpoints = Endpoints::follow(&place.kubeconfig("workload")).await?;
    let inside = Name {
        way: Way::Endpoints(endpoints.addresses()),
        ..name(place, "in-cluster", "kubernetes.default.svc")?
    };
    let old = name(place, "old", &facts.plan.endpoints.old_api)?;
    let old = Prober::begin(vec![old, inside]);
    let mut new = None;
    let begin = Instant::now();
    let input = json!({
        "installation": INSTALLATION, "cluster": CLUSTER, "plan": facts.plan, "secrets": facts.secrets,
    });
    client.start(&id, definition::NAME, &input).await?;
    let mut kills = Kills::new(&args.kill)?;
    let mut story = Story::new(begin);
    let ended = client
        .follow(&id, args.order.patience(), async |workflow| {
            story.tell(workflow);
            kills.strike(workflow, begin).await?;
            if new.is_none() && story.has_succeeded("join-etcd") {
                new = begin_new(place).await?;
            }
            Ok(())
        })
        .await?;
    if ended.is_ok() {
        args.order.play(place, &parts, &facts).await?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    // What comes just after is the customer's business too.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut seen = old.end(place.path("probes-old.jsonl")).await?;
    if let Some(new) = new {
        seen.append(&mut new.end(place.path("probes-new.jsonl")).await?);
    }
    let machines = machines(place).await?;
    let mut nodes: Vec<String> = machines.values().cloned().collect();
    nodes.sort();
    let mut report = Report {
        partition: facts.plan.partition.as_str().to_owned(),
        order: format!("{:?}", args.order),
        seconds,
        steps: story.times(),
        seen,
        service: endpoints.end(place.path("endpoints.jsonl")).await?,
        proofs: None,
        members: Vec::new(),
        nodes,
        registrations: registrations(&machines, &facts).await?,
        kills: kills.done(),
        after_care: None,
    };
    if ended.is_ok() && last.is_none() {
        let first = report
            .nodes
            .first()
            .context("no Cluster API node is there")?;
        let kubeconfig = place.kubeconfig("workload");
        report.proofs = Some(before.hold(&kubeconfig, place, &parts, first).await?);
        report.members = proofs::members(place, &parts, first).await?;
    }
    let keep = |report: &Report| -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(report)?;
        Ok(std::fs::write(place.path("report.json"), text)?)
    };
    keep(&report)?;
    ended?;
    if args.compare {
        ledger::compare(place, &report)?;
    }
    if args.after_care {
        let care = after_care::play(place, &parts, &facts, &mut client, &before).await?;
        report.after_care = Some(care);
        keep(&report)?;
    }
    Ok(report)
}

/// What the lab's own probes are known by to the workload's etcd.
fn keep_identity(place: &Place) -> anyhow::Result<()> {
    let [ca, certificate, key] = proofs::identity(&place.kubeconfig("workload"))?;
    let folder = place.path("secrets");
    std::fs::write(folder.join("workload-ca.crt"), ca)?;
    std::fs::write(folder.join("etcd-client.crt"), certificate)?;
    Ok(std::fs::write(folder.join("etcd-client.key"), key)?)
}

pub(crate) fn name(place: &Place, label: &str, host: &str) -> anyhow::Result<Name> {
    let [ca, certificate, key] = proofs::identity(&place.kubeconfig("workload"))?;
    Ok(Name {
        label: label.to_owned(),
        host: host.to_owned(),
        way: Way::Lookup,
        tls: Tls::trusting(&ca, Some((&certificate, &key)))?,
    })
}

/// Begins to probe the new name once it answers; `None` until then.
async fn begin_new(place: &Place) -> anyhow::Result<Option<Prober>> {
    let capi = api::client(&place.kubeconfig("capi-mc")).await?;
    let clusters = api::resource(
        &capi,
        "cluster.x-k8s.io/v1beta1",
        "Cluster",
        Some(NAMESPACE),
    )
    .await?;
    let cluster = clusters.get(CLUSTER).await?;
    let Some(host) = cluster.data["spec"]["controlPlaneEndpoint"]["host"].as_str() else {
        return Ok(None);
    };
    let probe = name(place, "new", host)?;
    let answers = crate::prober::answers(&probe).await;
    Ok(answers.then(|| Prober::begin(vec![probe])))
}

/// The control plane's Machines that have found their Node: its name, by EC2 instance.
pub(crate) async fn machines(place: &Place) -> anyhow::Result<BTreeMap<String, String>> {
    let capi = api::client(&place.kubeconfig("capi-mc")).await?;
    let kind = "cluster.x-k8s.io/v1beta1";
    let machines = api::resource(&capi, kind, "Machine", Some(NAMESPACE)).await?;
    let machines = machines.list(&kube::api::ListParams::default()).await?;
    let found = machines.into_iter().filter_map(|machine| {
        let provider = machine.data["spec"]["providerID"].as_str()?;
        let node = machine.data["status"]["nodeRef"]["name"].as_str()?;
        Some((provider.rsplit('/').next()?.to_owned(), node.to_owned()))
    });
    Ok(found.collect())
}

/// Who is registered at the API's vintage load balancers: Cluster API nodes by name, others by instance id.
async fn registrations(
    names: &BTreeMap<String, String>,
    facts: &Facts,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let clients = Clients::new(&format!("http://{CLOUD}"), &facts.shape.region);
    let balancers = &facts.plan.load_balancers;
    let mut found = BTreeMap::new();
    for balancer in [&balancers.api, &balancers.api_internal] {
        let answer = clients
            .elb
            .describe_load_balancers()
            .load_balancer_names(balancer)
            .send()
            .await?;
        let mut registered: Vec<String> = answer
            .load_balancer_descriptions()
            .iter()
            .flat_map(|description| description.instances())
            .filter_map(|instance| instance.instance_id())
            .map(|id| names.get(id).cloned().unwrap_or_else(|| id.to_owned()))
            .collect();
        registered.sort();
        found.insert(balancer.clone(), registered);
    }
    Ok(found)
}
