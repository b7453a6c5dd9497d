//! All reads of the inventory.

use drover_model::{VintageCluster, cr::keys, names};
use drover_ports::{
    AutoScalingGroup, Gvk, Instance, Member, ObjectRef, Ports, RouteTable, SecurityGroup, Subnet,
    Via, Vpc,
};
use drover_step_api::{Context, StepError};
use serde_json::Value;

use crate::kinds;

/// What was seen.
pub(super) struct Seen {
    pub(super) vintage: VintageCluster,
    /// ARN of the role with which the vintage operators act in the cluster's account.
    pub(super) role_arn: String,
    /// What the cluster's aws-operator was installed with.
    pub(super) operator_values: Value,
    /// Base domain of the Cluster API management cluster's clusters.
    pub(super) capi_domain: String,
    pub(super) vpc: Vpc,
    pub(super) subnets: Vec<Subnet>,
    pub(super) route_tables: Vec<RouteTable>,
    pub(super) security_groups: Vec<SecurityGroup>,
    pub(super) instances: Vec<Instance>,
    pub(super) groups: Vec<AutoScalingGroup>,
    pub(super) nodes: Vec<Value>,
    /// Flags of a running API server and controller manager.
    pub(super) api_server: Vec<String>,
    pub(super) controller_manager: Vec<String>,
    pub(super) members: Vec<Member>,
}

pub(super) async fn everything(ctx: &Context<Ports>, id: &str) -> Result<Seen, StepError> {
    let vintage = custom_resources(ctx, id).await?;
    ctx.progress(1, 4, "custom resources are read");
    let role_arn = role_arn(ctx, &vintage).await?;
    let operator_values = operator_values(ctx, &vintage).await?;
    let capi_domain = capi_domain(ctx).await?;
    ctx.progress(2, 4, "settings of both management clusters are read");
    let cloud = ctx.ports().cloud(id);
    let vpc_id = &vintage.aws_cluster.status.provider.network.vpc_id;
    let vpc = cloud.describe_vpc(vpc_id).await?;
    let subnets = cloud.describe_subnets(&vpc.id).await?;
    let route_tables = cloud.describe_route_tables(&vpc.id).await?;
    let security_groups = cloud.describe_security_groups(&vpc.id).await?;
    let tags = [(names::TAG_CLUSTER, id)];
    let instances = cloud.describe_instances(&tags).await?;
    let groups = cloud.describe_auto_scaling_groups(&tags).await?;
    ctx.progress(3, 4, "the cluster's part of AWS is read");
    let workload = ctx.ports().workload(id, Via::OldName);
    let nodes = workload.list(&kinds::node(), "", &[]).await?;
    let pods = workload.list(&kinds::pod(), "kube-system", &[]).await?;
    let members = ctx.ports().etcd(id).member_list().await?;
    Ok(Seen {
        api_server: flags_of(&pods, "k8s-api-server")?,
        controller_manager: flags_of(&pods, "k8s-controller-manager")?,
        vintage,
        role_arn,
        operator_values,
        capi_domain,
        vpc,
        subnets,
        route_tables,
        security_groups,
        instances,
        groups,
        nodes,
        members,
    })
}

async fn custom_resources(ctx: &Context<Ports>, id: &str) -> Result<VintageCluster, StepError> {
    let mc = ctx.ports().vintage_mc();
    let mut objects = Vec::new();
    for gvk in kinds::vintage().iter().chain([&kinds::app()]) {
        objects.extend(mc.list(gvk, "", &[(keys::CLUSTER, id)]).await?);
    }
    let is_cluster = |object: &&Value| object["kind"] == "Cluster";
    match objects.iter().find(is_cluster) {
        None => return Err(StepError::gone(format!("there is no vintage cluster {id}"))),
        Some(cluster) if cluster["metadata"].get("deletionTimestamp").is_some() => {
            return Err(StepError::gone(format!(
                "the vintage cluster {id} is being deleted"
            )));
        }
        Some(_) => {}
    }
    let pool = objects
        .iter()
        .find(|object| object["kind"] == "AWSCluster")
        .and_then(|cluster| {
            let name = cluster["spec"]["provider"]["nodes"]["networkPool"].as_str()?;
            let namespace = cluster["metadata"]["namespace"].as_str()?;
            (!name.is_empty()).then(|| ObjectRef::new(&kinds::network_pool(), namespace, name))
        });
    if let Some(pool) = pool {
        objects.extend(mc.find(&pool).await?);
    }
    VintageCluster::from_objects("the vintage management cluster", objects)
        .map_err(|error| StepError::refused("resources-unreadable", error.to_string()))?
        .into_iter()
        .find(|cluster| cluster.id == id)
        .ok_or_else(|| StepError::gone(format!("there is no vintage cluster {id}")))
}

/// Name of the Secret that counts for clusters which name none.
const DEFAULT_CREDENTIALS: &str = "credential-default";

async fn role_arn(ctx: &Context<Ports>, vintage: &VintageCluster) -> Result<String, StepError> {
    let reference = &vintage.aws_cluster.spec.provider.credential_secret;
    let or = |value: &str, default: &str| if value.is_empty() { default } else { value }.to_owned();
    let namespace = or(&reference.namespace, "giantswarm");
    let name = or(&reference.name, DEFAULT_CREDENTIALS);
    let secret = ctx
        .ports()
        .vintage_mc()
        .get_secret(&namespace, &name)
        .await?;
    secret
        .data
        .get("aws.admin.arn")
        .and_then(|arn| String::from_utf8(arn.expose().to_vec()).ok())
        .ok_or_else(|| {
            StepError::refused(
                "credentials-unreadable",
                format!("Secret {namespace}/{name} has no key aws.admin.arn"),
            )
        })
}

/// Empty when the cluster's operator has no such object: then the cluster's own resources have to say everything.
async fn operator_values(
    ctx: &Context<Ports>,
    vintage: &VintageCluster,
) -> Result<Value, StepError> {
    let Some(version) = vintage.aws_cluster.metadata.labels.get(keys::AWS_OPERATOR) else {
        return Ok(Value::Null);
    };
    let name = format!("aws-operator-{version}-chart-values");
    let object = config_map("giantswarm", &name);
    let found = ctx.ports().vintage_mc().find(&object).await?;
    Ok(found.map_or(Value::Null, |object| yaml(&object["data"]["values"])))
}

async fn capi_domain(ctx: &Context<Ports>) -> Result<String, StepError> {
    let object = config_map("giantswarm", "cluster-apps-operator");
    let found = ctx.ports().capi_mc().get(&object).await?;
    let config = yaml(&found["data"]["config.yml"]);
    config["service"]["workload"]["cluster"]["baseDomain"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| {
            StepError::refused(
                "base-domain-unknown",
                "ConfigMap giantswarm/cluster-apps-operator of the Cluster API management cluster names no base domain",
            )
        })
}

fn config_map(namespace: &str, name: &str) -> ObjectRef {
    let gvk: Gvk = kinds::config_map();
    ObjectRef::new(&gvk, namespace, name)
}

fn yaml(text: &Value) -> Value {
    text.as_str()
        .and_then(|text| serde_saphyr::from_str(text).ok())
        .unwrap_or(Value::Null)
}

fn flags_of(pods: &[Value], stem: &str) -> Result<Vec<String>, StepError> {
    let pod = pods.iter().find(|pod| {
        pod["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name.starts_with(stem))
    });
    let pod = pod.ok_or_else(|| {
        StepError::refused(
            "static-pod-missing",
            format!("no pod {stem}-… runs in kube-system, so its flags cannot be read"),
        )
    })?;
    Ok(pod["spec"]["containers"][0]["command"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|flag| Some(flag.as_str()?.to_owned()))
        .collect())
}
