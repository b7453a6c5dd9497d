//! `checks.preflight/1`: may this cluster be migrated now?
//!
//! * Effect: none; it only reads.
//! * Idempotency: a look.
//! * Compensation: nothing to take back.
//!
//! One check a file, all in `CHECKS`. A check finds blockers and warnings; it never stops at the first one, and neither
//! does the step: a person who has to make a cluster ready wants the whole list. Blockers refuse the step, so the workflow
//! waits for an operator; warnings go to the output, where the gate shows them to its approver.

mod api_endpoints;
mod ca;
mod capa_role;
mod control_plane;
mod custom_resources;
mod encryption;
mod etcd_health;
mod etcd_migrator;
mod fidelity;
mod free_addresses;
mod gitops;
mod leftovers;
mod node_cidrs;
mod pod_cidr;
mod release;
mod routes;
mod service_accounts;
mod stacks;
mod vpc;

use std::time::Duration;

use drover_model::{ClusterPlan, PLAN_VERSION};
use drover_ports::{Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, LossPolicy, Observed, Poll, Reach, Role, Step,
    StepError,
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{RETRY, timeouts},
    target::still_there,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Preflight;

/// Parameters of `checks.preflight/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// The plan.
    pub plan: ClusterPlan,
}

/// Output of `checks.preflight/1`, when nothing blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// What an approver should know.
    pub warnings: Vec<Finding>,
    /// Names of the checks that were made.
    pub checks: Vec<String>,
}

/// How much a finding weighs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The migration must not begin.
    Blocker,
    /// A person decides.
    Warning,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Stable, kebab-case.
    pub code: String,
    /// One sentence: what is so, and what to do.
    pub message: String,
}

/// What a check has to work with.
pub(crate) struct Look<'c> {
    ctx: &'c Context<Ports>,
    plan: &'c ClusterPlan,
}

impl<'c> Look<'c> {
    fn ports(&self) -> &'c Ports {
        self.ctx.ports()
    }

    fn workload(&self) -> drover_ports::Kube {
        self.ports().workload(&self.plan.id, Via::OldName)
    }
}

/// What one check found; empty when all is well.
type Findings = Result<Vec<Finding>, StepError>;

fn blocker(code: &str, message: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Blocker,
        code: code.to_owned(),
        message: message.into(),
    }
}

fn warning(code: &str, message: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: code.to_owned(),
        message: message.into(),
    }
}

/// From a look that failed for a moment to the next one.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// For so long one check may go on failing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A named check.
struct Check {
    name: &'static str,
    look: for<'l> fn(&'l Look<'l>) -> BoxFuture<'l, Findings>,
}

/// All checks, the ones that say most about the cluster first.
const CHECKS: &[Check] = &[
    Check {
        name: "release",
        look: |look| Box::pin(release::check(look)),
    },
    Check {
        name: "custom-resources",
        look: |look| Box::pin(custom_resources::check(look)),
    },
    Check {
        name: "gitops",
        look: |look| Box::pin(gitops::check(look)),
    },
    Check {
        name: "stacks",
        look: |look| Box::pin(stacks::check(look)),
    },
    Check {
        name: "control-plane",
        look: |look| Box::pin(control_plane::check(look)),
    },
    Check {
        name: "api-endpoints",
        look: |look| Box::pin(api_endpoints::check(look)),
    },
    Check {
        name: "etcd-health",
        look: |look| Box::pin(etcd_health::check(look)),
    },
    Check {
        name: "etcd-migrator",
        look: |look| Box::pin(etcd_migrator::check(look)),
    },
    Check {
        name: "node-cidrs",
        look: |look| Box::pin(node_cidrs::check(look)),
    },
    Check {
        name: "pod-cidr",
        look: |look| Box::pin(pod_cidr::check(look)),
    },
    Check {
        name: "vpc",
        look: |look| Box::pin(vpc::check(look)),
    },
    Check {
        name: "routes",
        look: |look| Box::pin(routes::check(look)),
    },
    Check {
        name: "free-addresses",
        look: |look| Box::pin(free_addresses::check(look)),
    },
    Check {
        name: "capa-role",
        look: |look| Box::pin(capa_role::check(look)),
    },
    Check {
        name: "ca",
        look: |look| Box::pin(ca::check(look)),
    },
    Check {
        name: "service-accounts",
        look: |look| Box::pin(service_accounts::check(look)),
    },
    Check {
        name: "encryption",
        look: |look| Box::pin(encryption::check(look)),
    },
    Check {
        name: "leftovers",
        look: |look| Box::pin(leftovers::check(look)),
    },
    Check {
        name: "fidelity",
        look: |look| Box::pin(fidelity::check(look)),
    },
];

impl Step<Ports> for Preflight {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "checks.preflight",
        version: 1,
        summary: "looks for everything that would make the migration fail or hurt",
        role: Role::Step,
        class: Class::Light,
        reach: &[
            Reach::VintageMc,
            Reach::CapiMc,
            Reach::Workload,
            Reach::Aws,
            Reach::Vault,
            Reach::Etcd,
        ],
        effects: &[],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(15),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "vintage-mc:get:AWSCluster",
            "vintage-mc:get-data:Secret",
            "capi-mc:get:Cluster",
            "capi-mc:get:KubeadmControlPlane",
            "capi-mc:get:AWSCluster",
            "capi-mc:get:Secret",
            "capi-mc:get:Namespace",
            "capi-mc:list:Deployment",
            "workload:list:Node",
            "workload:list:Pod",
            "workload:get:Endpoints",
            "workload:get:Job",
            "vintage-mc:get:Kustomization",
            "probe:Api",
            "probe:ServedCa",
            "ca:Check",
            "etcd:MemberList",
            "etcd:Status",
            "etcd:AlarmList",
            "sts:AssumeRole",
            "ec2:DescribeVpcs",
            "ec2:DescribeSubnets",
            "ec2:DescribeRouteTables",
            "cloudformation:DescribeStacks",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        let plan = &params.plan;
        if plan.version != PLAN_VERSION {
            return Err(StepError::refused(
                "plan-version",
                format!(
                    "the plan has version {}, and this worker reads {PLAN_VERSION}",
                    plan.version
                ),
            ));
        }
        still_there(ctx, &plan.namespace, &plan.id).await
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let look = Look {
            ctx,
            plan: &params.plan,
        };
        let mut found = Vec::new();
        for (n, check) in CHECKS.iter().enumerate() {
            ctx.progress(n as u64, CHECKS.len() as u64, check.name);
            ctx.safe_point()?;
            found.extend(patiently(&look, check).await?);
        }
        // Blockers first; each kind in the order of the checks.
        found.sort_by_key(|finding| finding.severity);
        if found
            .iter()
            .any(|finding| finding.severity == Severity::Blocker)
        {
            return Err(StepError::refused("preflight-blocked", sentence(&found)));
        }
        Ok(Output {
            warnings: found,
            checks: CHECKS.iter().map(|check| check.name.to_owned()).collect(),
        })
    }

    async fn observe(&self, _: &Context<Ports>, _: &Params) -> Result<Observed<Output>, StepError> {
        Ok(Observed::NotDone)
    }
}

/// One check, again after a blip: all of them together make so many calls that one of those fails every other time.
async fn patiently(look: &Look<'_>, check: &Check) -> Findings {
    look.ctx
        .wait_until(check.name, BETWEEN_LOOKS, PATIENCE, || async {
            Ok(Poll::Ready((check.look)(look).await?))
        })
        .await
}

/// What blocks, for the operator. Warnings are many and can wait until nothing blocks.
fn sentence(found: &[Finding]) -> String {
    let blockers: Vec<String> = found
        .iter()
        .filter(|finding| finding.severity == Severity::Blocker)
        .map(|finding| format!("{} [{}]", finding.message, finding.code))
        .collect();
    let text = blockers.join("; ");
    match found.len() - blockers.len() {
        0 => text,
        1 => format!("{text}; and 1 warning"),
        n => format!("{text}; and {n} warnings"),
    }
}
