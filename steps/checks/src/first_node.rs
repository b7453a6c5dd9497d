//! `checks.first_node/1`: the first Cluster API node is as good as a master, proved from the outside.
//!
//! * Effect: none; it only reads, and asks for a token that is stored nowhere.
//! * Idempotency: a look.
//! * Compensation: nothing to take back.
//!
//! A held control plane updates no conditions, so nothing that its controller says is asked: the node's own API is, beside
//! that of a master.

use drover_ports::{Kube, ObjectRef, PortErrorKind, Ports, Via};
use drover_step_api::{
    Class, Compensation, Context, Declaration, LossPolicy, Observed, Reach, Role, Step, StepError,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    defaults::{RETRY, timeouts},
    insist::insist,
    kinds,
    target::still_there,
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct FirstNode;

/// Parameters of `checks.first_node/1`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Params {
    /// Cluster id.
    pub cluster: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// The Machine.
    pub machine: String,
    /// Its Node, which is also the name of its etcd member.
    pub node: String,
    /// Its EC2 instance.
    pub instance: String,
    /// EC2 instance of a vintage master to compare with.
    pub master: String,
    /// SHA-256 of the CA that it has to serve, hex.
    pub ca_fingerprint: String,
}

/// Output of `checks.first_node/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// What was proved.
    pub proofs: Vec<String>,
}

/// Raft entries that a member may be behind the leader.
const LAG: u64 = 1_000;

impl Step<Ports> for FirstNode {
    type Params = Params;
    type Output = Output;

    const DECLARATION: Declaration = Declaration {
        name: "checks.first_node",
        version: 1,
        summary: "proves that the first Cluster API node serves the same cluster as the masters",
        role: Role::Step,
        class: Class::Light,
        reach: &[
            Reach::VintageMc,
            Reach::CapiMc,
            Reach::Workload,
            Reach::Etcd,
        ],
        effects: &[],
        compensation: Compensation::RollForward,
        loss_policy: LossPolicy::StopAtPermit,
        timeouts: timeouts(10),
        retry: RETRY,
        permissions: &[
            "vintage-mc:get:Cluster",
            "capi-mc:get:Machine",
            "workload:list:Node",
            "workload:list:Secret",
            "workload:get-data:Secret",
            "workload:create:TokenRequest",
            "workload:create:TokenReview",
            "probe:Api",
            "probe:ServedCa",
            "etcd:MemberList",
            "etcd:Status",
        ],
    };

    async fn pre(&self, ctx: &Context<Ports>, params: &Params) -> Result<(), StepError> {
        still_there(ctx, &params.namespace, &params.cluster).await
    }

    async fn run(&self, ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
        let mut proofs = Proofs::default();
        api_answers(ctx, params, &mut proofs).await?;
        // Without an API nothing else can be asked.
        if proofs.failed.is_empty() {
            machine_has_node(ctx, params, &mut proofs).await?;
            same_cluster(ctx, params, &mut proofs).await?;
            ctx.progress(1, 3, "the API is the same");
            tokens(ctx, params, &mut proofs).await?;
            secret(ctx, params, &mut proofs).await?;
            ctx.progress(2, 3, "tokens and Secrets are good");
            etcd(ctx, params, &mut proofs).await?;
        }
        if proofs.failed.is_empty() {
            Ok(Output {
                proofs: proofs.held,
            })
        } else {
            Err(StepError::refused(
                "first-node-unfit",
                format!(
                    "the first node must not take over: {}",
                    proofs.failed.join("; ")
                ),
            ))
        }
    }

    async fn observe(&self, _: &Context<Ports>, _: &Params) -> Result<Observed<Output>, StepError> {
        Ok(Observed::NotDone)
    }
}

#[derive(Default)]
struct Proofs {
    held: Vec<String>,
    failed: Vec<String>,
}

impl Proofs {
    fn note(&mut self, holds: bool, proof: &str, failure: impl FnOnce() -> String) {
        if holds {
            self.held.push(proof.to_owned());
        } else {
            self.failed.push(failure());
        }
    }
}

fn on(ctx: &Context<Ports>, params: &Params, instance: &str) -> Kube {
    let via = Via::Instance {
        id: instance.to_owned(),
    };
    ctx.ports().workload(&params.cluster, via)
}

async fn api_answers(
    ctx: &Context<Ports>,
    params: &Params,
    proofs: &mut Proofs,
) -> Result<(), StepError> {
    let via = Via::Instance {
        id: params.instance.clone(),
    };
    let probe = ctx.ports().probe(&params.cluster);
    let api = probe.api(via.clone()).await?;
    proofs.note(api.ok, "its API answers", || {
        format!("its API does not answer ({})", api.detail)
    });
    match insist(ctx, || probe.served_ca(via.clone())).await? {
        Ok(served) => proofs.note(
            served == params.ca_fingerprint,
            "it serves a certificate of the cluster CA",
            || "it serves a certificate of another CA".to_owned(),
        ),
        Err(error) if error.kind == PortErrorKind::Unreachable => {
            proofs
                .failed
                .push(format!("no handshake with it ({})", error.message));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn machine_has_node(
    ctx: &Context<Ports>,
    params: &Params,
    proofs: &mut Proofs,
) -> Result<(), StepError> {
    let object = ObjectRef::new(&kinds::machine(), &params.namespace, &params.machine);
    let machine = ctx.ports().capi_mc().get(&object).await?;
    proofs.note(
        machine["status"]["nodeRef"]["name"] == params.node.as_str(),
        "its Machine has found its Node",
        || {
            format!(
                "Machine {} has not found the Node {}",
                params.machine, params.node
            )
        },
    );
    Ok(())
}

/// The same nodes through both: another etcd, or another prefix in it, would show others or none.
async fn same_cluster(
    ctx: &Context<Ports>,
    params: &Params,
    proofs: &mut Proofs,
) -> Result<(), StepError> {
    let mut seen = Vec::new();
    for instance in [&params.master, &params.instance] {
        let nodes = on(ctx, params, instance)
            .list(&kinds::node(), "", &[])
            .await?;
        let names: Vec<String> = nodes
            .iter()
            .filter_map(|node| Some(node["metadata"]["name"].as_str()?.to_owned()))
            .collect();
        seen.push(names);
    }
    proofs.note(
        seen[0] == seen[1],
        "it shows the same nodes as a master",
        || {
            format!(
                "it shows {} nodes and a master {}",
                seen[1].len(),
                seen[0].len()
            )
        },
    );
    Ok(())
}

async fn tokens(
    ctx: &Context<Ports>,
    params: &Params,
    proofs: &mut Proofs,
) -> Result<(), StepError> {
    let old = on(ctx, params, &params.master)
        .request_token("kube-system", "default")
        .await?;
    let accepted = on(ctx, params, &params.instance).review_token(old).await?;
    proofs.note(accepted, "it accepts a token of a master", || {
        "it does not accept a token that a master issued".to_owned()
    });
    let new = on(ctx, params, &params.instance)
        .request_token("kube-system", "default")
        .await?;
    let accepted = on(ctx, params, &params.master).review_token(new).await?;
    proofs.note(accepted, "a master accepts a token of it", || {
        "a master does not accept a token that it issued".to_owned()
    });
    Ok(())
}

/// One of the customer's Secrets can be read through it, and is what a master reads.
async fn secret(
    ctx: &Context<Ports>,
    params: &Params,
    proofs: &mut Proofs,
) -> Result<(), StepError> {
    let master = on(ctx, params, &params.master);
    let secrets = master.list(&kinds::secret(), "", &[]).await?;
    let Some(known) = secrets.first() else {
        proofs.held.push("there is no Secret to read".to_owned());
        return Ok(());
    };
    let text = |field: &str| {
        known["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (namespace, name) = (text("namespace"), text("name"));
    let expected = master.get_secret(&namespace, &name).await?;
    match on(ctx, params, &params.instance)
        .get_secret(&namespace, &name)
        .await
    {
        Ok(read) => proofs.note(read.data == expected.data, "it reads Secrets", || {
            format!("it reads something else in Secret {namespace}/{name} than a master")
        }),
        Err(error) if error.code == "InternalError" => {
            proofs.failed.push(format!(
                "it cannot read Secret {namespace}/{name} ({})",
                error.message
            ));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn etcd(ctx: &Context<Ports>, params: &Params, proofs: &mut Proofs) -> Result<(), StepError> {
    let etcd = ctx.ports().etcd(&params.cluster);
    let own = etcd.status(&params.node).await?;
    let members = etcd.member_list().await?;
    let Some(leader) = members.iter().find(|member| member.id == own.leader) else {
        proofs
            .failed
            .push("its etcd member knows no leader".to_owned());
        return Ok(());
    };
    let leader = etcd.status(&leader.name).await?;
    let lag = leader
        .raft_applied_index
        .saturating_sub(own.raft_applied_index);
    proofs.note(
        lag <= LAG && own.healthy,
        "its etcd member has caught up",
        || format!("its etcd member is {lag} entries behind the leader"),
    );
    Ok(())
}
