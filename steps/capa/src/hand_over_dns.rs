//! `aws.hand_over_dns/1`: the vintage API's name leads to the Cluster API load balancer.
//!
//! * Effect: the records of the name, in the zone of the world and in the one of the VPC, point to CAPA's load balancer; and
//!   then time, until nobody makes connections to the vintage load balancers any more.
//! * Idempotency: a record that points there stays as it is. A record is replaced only as it was seen.
//! * Compensation: roll forward. By now only Cluster API nodes serve, whichever way a customer comes.
//!
//! Nobody tells a client that a name has changed: resolvers keep what they heard for its time to live, and some clients for as
//! long as they live. So the guard keeps the vintage load balancers going until the last one has noticed. No other record is
//! touched: those of the customer's ingress, and the TXT records that say whose they are, stay.

use drover_ports::{DnsRecord, HostedZone, Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, Effect, LossPolicy, Observed, Poll, Reach, Role,
    Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{
    cluster::still_there,
    defaults::{RETRY, minutes, seconds, timeouts},
    looks, traffic,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct HandOverDns;

/// Parameters of `aws.hand_over_dns/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The vintage name of its API, `api.<domain>`.
    pub old_name: String,
    /// The vintage load balancers.
    pub load_balancers: Vec<String>,
    /// CAPA's load balancer.
    pub new_load_balancer: String,
}

/// Output of `aws.hand_over_dns/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Names that were handed over.
    pub names: Vec<String>,
    /// What they point to.
    pub target: String,
}

/// For so long nobody may have made a connection, seconds. Clients of the Kubernetes API begin their watches anew within ten
/// minutes.
const QUIET: u64 = 900;

impl Step<Ports> for HandOverDns {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "aws.hand_over_dns",
        version: 1,
        summary: "points the vintage API's name to the Cluster API load balancer and waits until everybody has noticed",
        role: Role::Step,
        class: Class::CloudApi,
        reach: &[Reach::VintageMc, Reach::Workload, Reach::Aws],
        effects: &[Effect::once("repoint")],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(minutes(13 * 60)),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "probe:Api",
            "route53:ListHostedZonesByName",
            "route53:ListResourceRecordSets",
            "route53:ChangeResourceRecordSets",
            "cloudwatch:GetMetricStatistics",
            "elasticloadbalancing:DescribeLoadBalancers",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await?;
        if records(ctx, params).await?.is_empty() {
            return Err(StepError::refused(
                "name-not-ours",
                format!(
                    "no hosted zone of this account has {}; point it to {} where it is kept, then skip this step",
                    params.old_name, params.new_load_balancer
                ),
            ));
        }
        traffic::answers_at_last(ctx, &params.cluster, Via::NewName)
            .await?
            .map_err(|why| {
                StepError::refused(
                    "new-load-balancer-silent",
                    format!("{} does not serve: {why}", params.new_load_balancer),
                )
            })
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let target = target(ctx, params).await?;
        for (zone, record) in records(ctx, params).await? {
            if points_to(&record, &target) {
                continue;
            }
            let side = if zone.private { "private" } else { "public" };
            let item = format!("{side}/{}", record.name);
            let new = DnsRecord {
                values: vec![target.clone()],
                ..record.clone()
            };
            let permit = ctx.permit_for("repoint", &item).await?;
            let cloud = ctx.ports().cloud(&params.cluster);
            cloud
                .replace_record(permit, &zone.id, &record, &new)
                .await?;
        }
        traffic::answers_at_last(ctx, &params.cluster, Via::OldName)
            .await?
            .map_err(|why| {
                StepError::transient(
                    "old-name-silent",
                    format!(
                        "{} does not answer where it points now: {why}",
                        params.old_name
                    ),
                )
            })?;
        wait_for_the_slowest(ctx, params).await?;
        output(ctx, params, target).await
    }

    async fn observe(
        &self,
        ctx: &Context<Ports>,
        params: &Params,
    ) -> Result<Observed<Output>, StepError> {
        let target = target(ctx, params).await?;
        let records = records(ctx, params).await?;
        let moved = records
            .iter()
            .filter(|(_, record)| points_to(record, &target))
            .count();
        if moved == 0 {
            return Ok(Observed::NotDone);
        }
        if moved < records.len() || users(ctx, params).await?.is_some() {
            return Ok(Observed::Partial);
        }
        Ok(Observed::Done(output(ctx, params, target).await?))
    }
}

/// The DNS name of CAPA's load balancer.
async fn target(ctx: &Context<Ports>, params: &Params) -> Result<String, StepError> {
    let cloud = ctx.ports().cloud(&params.cluster);
    let found = cloud
        .describe_load_balancer(&params.new_load_balancer)
        .await?;
    Ok(found.dns_name)
}

/// The records that lead to the vintage API.
async fn records(
    ctx: &Context<Ports>,
    params: &Params,
) -> Result<Vec<(HostedZone, DnsRecord)>, StepError> {
    looks::patient(ctx, "the records to be read", || read_records(ctx, params)).await
}

async fn read_records(
    ctx: &Context<Ports>,
    params: &Params,
) -> Result<Vec<(HostedZone, DnsRecord)>, StepError> {
    let domain = params
        .old_name
        .strip_prefix("api.")
        .unwrap_or(&params.old_name);
    let names = [params.old_name.clone(), format!("internal-api.{domain}")];
    let cloud = ctx.ports().cloud(&params.cluster);
    let mut found = Vec::new();
    for zone in cloud.list_hosted_zones(domain).await? {
        for record in cloud.list_records(&zone.id).await? {
            if names.contains(&record.name) && record.type_ != "TXT" {
                found.push((zone.clone(), record));
            }
        }
    }
    Ok(found)
}

fn points_to(record: &DnsRecord, target: &str) -> bool {
    record.values == [target]
}

async fn output(
    ctx: &Context<Ports>,
    params: &Params,
    target: String,
) -> Result<Output, StepError> {
    let records = records(ctx, params).await?;
    let mut names: Vec<String> = records.into_iter().map(|(_, record)| record.name).collect();
    names.sort();
    names.dedup();
    Ok(Output { names, target })
}

/// A vintage load balancer that somebody still uses.
async fn users(ctx: &Context<Ports>, params: &Params) -> Result<Option<String>, StepError> {
    still_used(ctx, &params.cluster, &params.load_balancers).await
}

/// One of these load balancers that somebody has made a connection to of late, in words.
///
/// # Errors
/// As the port.
pub(crate) async fn still_used(
    ctx: &Context<Ports>,
    cluster: &str,
    load_balancers: &[String],
) -> Result<Option<String>, StepError> {
    let cloud = ctx.ports().cloud(cluster);
    for load_balancer in load_balancers {
        let made = cloud.count_connections(load_balancer, QUIET).await?;
        if made > 0 {
            return Ok(Some(format!(
                "{made} connections were made to {load_balancer} in the last {} minutes",
                QUIET / 60
            )));
        }
    }
    Ok(None)
}

async fn wait_for_the_slowest(ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
    let what = "clients to leave the vintage load balancers";
    ctx.wait_until(what, seconds(120), minutes(12 * 60), || async {
        Ok(match users(ctx, params).await? {
            None => Poll::Ready(()),
            Some(why) => Poll::Pending(why),
        })
    })
    .await
}
