//! What the shipped after-care does to the cluster of a lab that was just migrated: its machines are replaced, twice, one after
//! the other. The weeks between, the watch over the routes and the gates are left out; so is the end, after which an old
//! token is worth nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api,
    coordinator::Client,
    definition, dns,
    endpoints::{Endpoints, Service},
    migrate::{self, StepTimes, machines},
    place::{Parts, Place},
    prober::{Prober, Seen, Way},
    proofs::{self, Before, Proofs},
    scenario::{INSTALLATION, NAMESPACE},
    story::Story,
    town::{CLUSTER, Facts},
};

/// Several times longer than it takes.
const PATIENCE: Duration = Duration::from_secs(45 * 60);

/// The kubeconfig that Cluster API gives out for the cluster.
const KUBECONFIG: &str = "workload-capi";

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AfterCare {
    /// Seconds from start to end.
    pub seconds: f64,
    /// When each step began and ended, seconds after the start.
    pub steps: Vec<StepTimes>,
    /// What was seen through each name.
    pub seen: BTreeMap<String, Seen>,
    /// What became of the API's service inside the cluster.
    pub service: Service,
    /// What held.
    pub proofs: Proofs,
    /// Who issues tokens now.
    pub issuer: String,
    /// Members of etcd afterwards.
    pub members: Vec<String>,
    /// Nodes of the Cluster API machines afterwards: none of those that there were.
    pub nodes: Vec<String>,
}

/// Plays it.
pub(crate) async fn play(
    place: &Place,
    parts: &Parts,
    facts: &Facts,
    client: &mut Client,
    before: &Before,
) -> anyhow::Result<AfterCare> {
    let host = keep_kubeconfig(place).await?;
    let kubeconfig = place.kubeconfig(KUBECONFIG);
    let replaced = machines(place).await?;
    client.register(&definition::after_care()?).await?;
    dns::hand_over(place, facts, &host).await?;
    let endpoints = Endpoints::follow(&kubeconfig).await?;
    let inside = migrate::name(place, "in-cluster", "kubernetes.default.svc")?;
    let prober = Prober::begin(vec![
        migrate::name(place, "old", &facts.plan.endpoints.old_api)?,
        migrate::name(place, "new", &host)?,
        crate::prober::Name {
            way: Way::Endpoints(endpoints.addresses()),
            ..inside
        },
    ]);
    let issuer = &facts.plan.service_accounts.capi_issuer;
    let input = json!({
        "installation": INSTALLATION, "cluster": CLUSTER, "environment": "test", "issuers": [issuer],
    });
    let id = format!("care-{}", jiff::Timestamp::now().as_second());
    let begin = Instant::now();
    client.start(&id, definition::AFTER_CARE, &input).await?;
    let mut story = Story::new(begin);
    let ended = client
        .follow(&id, PATIENCE, async |workflow| {
            story.tell(workflow);
            Ok(())
        })
        .await?;
    let seconds = begin.elapsed().as_secs_f64();
    let seen = prober.end(place.path("probes-after-care.jsonl")).await?;
    let service = endpoints
        .end(place.path("endpoints-after-care.jsonl"))
        .await?;
    ended?;
    let machines = machines(place).await?;
    let mut nodes: Vec<String> = machines.values().cloned().collect();
    nodes.sort();
    ensure!(
        machines.keys().all(|id| !replaced.contains_key(id)),
        "a machine was not replaced"
    );
    let first = nodes.first().context("no Cluster API node is there")?;
    let care = AfterCare {
        seconds,
        steps: story.times(),
        seen,
        service,
        proofs: before.hold(&kubeconfig, place, parts, first).await?,
        issuer: issuer_of_new_tokens(place).await?,
        members: proofs::members(place, parts, first).await?,
        nodes,
    };
    ensure!(
        care.issuer == *issuer,
        "tokens come from {} and not from {issuer}",
        care.issuer
    );
    Ok(care)
}

/// Keeps the kubeconfig that Cluster API made, and answers the API's name in it.
async fn keep_kubeconfig(place: &Place) -> anyhow::Result<String> {
    let capi = api::client(&place.kubeconfig("capi-mc")).await?;
    let secrets: Api<Secret> = Api::namespaced(capi, NAMESPACE);
    let secret = secrets.get(&format!("{CLUSTER}-kubeconfig")).await?;
    let text = secret.data.and_then(|mut data| data.remove("value"));
    let text = String::from_utf8(text.context("a kubeconfig Secret without a value")?.0)?;
    std::fs::write(place.kubeconfig(KUBECONFIG), &text)?;
    let config: Value = serde_saphyr::from_str(&text)?;
    let server = config["clusters"][0]["cluster"]["server"]
        .as_str()
        .context("a kubeconfig without a server")?;
    let host = server.trim_start_matches("https://");
    Ok(host.split(':').next().unwrap_or_default().to_owned())
}

async fn issuer_of_new_tokens(place: &Place) -> anyhow::Result<String> {
    let client = api::client(&place.kubeconfig(KUBECONFIG)).await?;
    let token = proofs::token(&client).await?;
    let claims = token.split('.').nth(1).context("a token without claims")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let issuer = claims["iss"]
        .as_str()
        .context("a token without an issuer")?;
    Ok(issuer.to_owned())
}
