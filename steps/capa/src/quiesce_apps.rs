//! `vintage.quiesce_apps/1`: the vintage side manages none of the apps any more that later come from the Cluster API side.
//!
//! * Effect: app-operator has no pods; the Charts of those apps, and the one of etcd-cluster-migrator with its Job, are gone. What
//!   Helm has installed stays.
//! * Idempotency: what is not there is done. The Charts are kept in the region store before the first one goes.
//! * Compensation: undo; the Charts are made again from there, then app-operator gets its pods back.
//!
//! chart-operator uninstalls what a Chart stands for when the Chart is deleted: with Cilium's, the cluster has no network any more.
//! So each is paused and its finalizers are taken away in one patch, before it is deleted; and not before app-operator is gone,
//! which would make it again.

use drover_ports::{Kube, ObjectRef, Ports, SecretBytes, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Reach, Role, Step,
    StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    kinds,
    support::{
        cluster::{name, still_there},
        defaults::{RETRY, minutes, timeouts},
        replicas::{self, Stand},
    },
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct QuiesceApps;

/// Parameters of `vintage.quiesce_apps/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
}

/// Output of `vintage.quiesce_apps/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Charts that are gone, ordered.
    pub charts: Vec<String>,
    /// Where they are kept, in the region store.
    pub backup: String,
}

/// Namespace of the Charts.
const NAMESPACE: &str = "giantswarm";
/// Its Helm hook turns one etcd member into three.
const MIGRATOR: &str = "etcd-cluster-migrator";
/// Apps that come from the Cluster API side, and the migrator.
const CHARTS: [&str; 6] = [
    "aws-cloud-controller-manager",
    "aws-ebs-csi-driver",
    "cilium",
    "coredns",
    MIGRATOR,
    "vertical-pod-autoscaler-crd",
];
/// Annotation: chart-operator leaves the Chart alone.
const CHART_PAUSED: &str = "chart-operator.giantswarm.io/paused";

impl Step<Ports> for QuiesceApps {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "vintage.quiesce_apps",
        version: 1,
        summary: "takes the cluster's basic apps out of vintage app management and leaves them installed",
        role: Role::Step,
        class: Class::Light,
        reach: &[Reach::VintageMc, Reach::Workload],
        effects: &[
            Effect::once("keep-charts"),
            Effect::once("stop"),
            Effect::once("release-chart"),
            Effect::once("delete-chart"),
            Effect::once("delete-job"),
            Effect::once("make-chart"),
            Effect::once("start-again"),
        ],
        compensation: Compensation::Undo,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(15)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:get:Deployment",
            "vintage-mc:patch:Deployment",
            "workload:get:Chart",
            "workload:patch:Chart",
            "workload:delete:Chart",
            "workload:create:Chart",
            "workload:list:Secret",
            "workload:get:Job",
            "workload:delete:Job",
            "region-store:Get",
            "region-store:Put",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster)
            .await
            .map(drop)
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let kept = keep(ctx, params).await?;
        let mc = ctx.ports().vintage_mc();
        replicas::stop(ctx, &mc, &app_operator(params), "stop").await?;
        let workload = workload(ctx, params);
        for (n, chart) in CHARTS.iter().enumerate() {
            remove(ctx, &workload, chart).await?;
            ctx.progress(n as u64 + 1, CHARTS.len() as u64, "Charts are gone");
        }
        remove_job(ctx, &workload).await?;
        for chart in &kept {
            still_installed(&workload, &name(chart)).await?;
        }
        Ok(output(ctx, params, &kept))
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let Some(kept) = kept(ctx, params).await? else {
            return Ok(Observed::NotDone);
        };
        let workload = workload(ctx, params);
        let left = charts(&workload).await?;
        let job = workload.find(&job()).await?;
        let operator = ctx.ports().vintage_mc().find(&app_operator(params)).await?;
        let stands = replicas::stand(ctx, operator.as_ref());
        Ok(
            if left.is_empty() && job.is_none() && stands != Stand::Runs {
                Observed::Done(output(ctx, params, &kept))
            } else {
                Observed::Partial
            },
        )
    }

    async fn compensate(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let workload = workload(ctx, params);
        for chart in kept(ctx, params).await?.unwrap_or_default() {
            put_back(ctx, &workload, chart).await?;
        }
        let mc = ctx.ports().vintage_mc();
        replicas::start_again(ctx, &mc, &app_operator(params), "start-again").await
    }
}

fn output(ctx: &Context<Ports>, params: &Params, kept: &[Value]) -> Output {
    Output {
        charts: kept.iter().map(name).collect(),
        backup: key(ctx, params),
    }
}

fn workload(ctx: &Context<Ports>, params: &Params) -> Kube {
    ctx.ports().workload(&params.cluster, Via::OldName)
}

fn app_operator(params: &Params) -> ObjectRef {
    let name = drover_model::names::app_operator(&params.cluster);
    ObjectRef::new(&kinds::deployment(), &params.cluster, &name)
}

fn reference(chart: &str) -> ObjectRef {
    ObjectRef::new(&kinds::chart(), NAMESPACE, chart)
}

/// Those of the Charts that are there.
async fn charts(workload: &Kube) -> Result<Vec<Value>, StepError> {
    let mut found = Vec::new();
    for chart in CHARTS {
        found.extend(workload.find(&reference(chart)).await?);
    }
    Ok(found)
}

/// Where the Charts are kept.
fn key(ctx: &Context<Ports>, params: &Params) -> String {
    format!("{}/{}/charts.json", params.cluster, ctx.workflow())
}

/// The Charts as they were before this workflow took the first one; `None` before that.
async fn kept(ctx: &Context<Ports>, params: &Params) -> Result<Option<Vec<Value>>, StepError> {
    let key = key(ctx, params);
    match ctx.ports().region_store().get(&key).await {
        Ok(data) => serde_json::from_slice(data.expose())
            .map(Some)
            .map_err(|error| {
                StepError::failed(
                    "backup-unreadable",
                    format!("{key} in the region store is no list of Charts: {error}"),
                )
            }),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Keeps the Charts, unless they are kept.
async fn keep(ctx: &Context<Ports>, params: &Params) -> Result<Vec<Value>, StepError> {
    if let Some(kept) = kept(ctx, params).await? {
        return Ok(kept);
    }
    let mut charts = charts(&workload(ctx, params)).await?;
    for chart in &mut charts {
        strip(chart);
    }
    let data = serde_json::to_vec(&charts)
        .map_err(|error| StepError::failed("backup-invalid", error.to_string()))?;
    let permit = ctx.permit("keep-charts").await?;
    let store = ctx.ports().region_store();
    store
        .put(permit, &key(ctx, params), SecretBytes::new(data))
        .await?;
    Ok(charts)
}

/// Takes away what an API server writes itself.
fn strip(object: &mut Value) {
    if let Value::Object(object) = object {
        object.shift_remove("status");
    }
    if let Value::Object(metadata) = &mut object["metadata"] {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
        ] {
            metadata.shift_remove(field);
        }
    }
}

async fn remove(ctx: &Context<Ports>, workload: &Kube, chart: &str) -> Result<(), StepError> {
    let reference = reference(chart);
    let Some(seen) = workload.find(&reference).await? else {
        return Ok(());
    };
    let finalizers = seen["metadata"]["finalizers"].as_array();
    let held = finalizers.is_some_and(|finalizers| !finalizers.is_empty());
    if held || seen["metadata"]["annotations"][CHART_PAUSED] != "true" {
        let patch = json!({"metadata": {
            "annotations": {CHART_PAUSED: "true"},
            "finalizers": null,
        }});
        let permit = ctx.permit_for("release-chart", chart).await?;
        workload
            .merge_patch(permit, &reference, patch, None)
            .await?;
    }
    let permit = ctx.permit_for("delete-chart", chart).await?;
    Ok(workload.delete_seen(permit, &reference, &seen).await?)
}

/// The Chart as it was: made again, or given back what keeps chart-operator at it.
async fn put_back(ctx: &Context<Ports>, workload: &Kube, chart: Value) -> Result<(), StepError> {
    let reference = reference(&name(&chart));
    let paused = |chart: &Value| chart["metadata"]["annotations"][CHART_PAUSED].clone();
    match workload.find(&reference).await? {
        None => {
            let permit = ctx.permit_for("make-chart", &reference.name).await?;
            workload.create(permit, chart).await?;
        }
        Some(found) if paused(&found) != paused(&chart) => {
            let patch = json!({"metadata": {
                "annotations": {CHART_PAUSED: paused(&chart)},
                "finalizers": chart["metadata"]["finalizers"],
            }});
            let permit = ctx.permit_for("make-chart", &reference.name).await?;
            workload
                .merge_patch(permit, &reference, patch, None)
                .await?;
        }
        Some(_) => {}
    }
    Ok(())
}

fn job() -> ObjectRef {
    ObjectRef::new(&kinds::job(), "kube-system", MIGRATOR)
}

async fn remove_job(ctx: &Context<Ports>, workload: &Kube) -> Result<(), StepError> {
    let job = job();
    if let Some(seen) = workload.find(&job).await? {
        let permit = ctx.permit_for("delete-job", MIGRATOR).await?;
        workload.delete_seen(permit, &job, &seen).await?;
    }
    Ok(())
}

/// Helm keeps a release in a Secret; see "Storage backends" in its documentation.
async fn still_installed(workload: &Kube, chart: &str) -> Result<(), StepError> {
    if chart == MIGRATOR {
        return Ok(());
    }
    let labels = [("owner", "helm"), ("name", chart)];
    let secrets = workload
        .list(&kinds::secret(), "kube-system", &labels)
        .await?;
    if secrets.is_empty() {
        return Err(StepError::failed(
            "release-lost",
            format!(
                "Helm has no release {chart} in kube-system any more: it was uninstalled with its Chart"
            ),
        ));
    }
    Ok(())
}
