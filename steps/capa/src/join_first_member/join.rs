//! The join itself.

use drover_model::{names, target};
use drover_ports::{Instance, ObjectRef, Ports, SecretBytes, SecretObject};
use drover_step_api::{Context, Observed, Poll, StepError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Output, Params, replace};
use crate::{
    kinds,
    support::{
        cluster::annotation,
        control_plane,
        defaults::{minutes, seconds},
        etcd,
        secrets::OPAQUE,
    },
};

/// Annotation on a KubeadmConfig: it has been touched since the files are there.
const TOUCHED: &str = "drover.giantswarm.io/files-written";

/// A machine that runs and shows no member after this long is taken for dead. Slow ones need six minutes.
const REPLACE_AFTER: std::time::Duration = minutes(15);

/// Machines that may be replaced. When a third one does not join either, it is not the machine.
const REPLACEMENTS: u32 = 2;

/// What a later attempt has to know: how long the machine has had, which one is being replaced, and how many have been.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    running_since: Option<(String, Timestamp)>,
    pub(super) replacing: Option<Dead>,
    replaced: u32,
}

/// A machine that boots and does not join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dead {
    pub(super) machine: String,
    pub(super) instance: String,
}

pub(super) async fn run(ctx: &Context<Ports>, params: &Params) -> Result<Output, StepError> {
    let mut memory: Memory = ctx.restored().unwrap_or_default();
    loop {
        let machine = replace::one_held_machine(ctx, params, &memory).await?;
        if let Some(dead) = &memory.replacing
            && dead.machine == machine
        {
            replace::take_away(ctx, params, dead).await?;
            continue;
        }
        write_files(ctx, params, &machine).await?;
        touch(ctx, params, &machine).await?;
        let instance = wait_for_instance(ctx, params, &machine).await?;
        let since = match &memory.running_since {
            Some((known, since)) if *known == instance.id => *since,
            _ => {
                memory.running_since = Some((instance.id.clone(), ctx.now()));
                ctx.checkpoint(&memory).await?;
                ctx.now()
            }
        };
        if member_appears(ctx, params, &instance, since).await? {
            wait_for_member(ctx, params, &instance).await?;
            let node = wait_for_node(ctx, params, &machine).await?;
            return Ok(Output {
                machine,
                instance: instance.id,
                node,
            });
        }
        if memory.replaced == REPLACEMENTS {
            return Err(StepError::failed(
                "no-machine-joins",
                format!(
                    "{} is the third machine that boots and does not join etcd; read its console",
                    instance.id
                ),
            ));
        }
        memory.replaced += 1;
        memory.replacing = Some(Dead {
            machine,
            instance: instance.id,
        });
        ctx.checkpoint(&memory).await?;
    }
}

pub(super) fn files_secret(params: &Params) -> ObjectRef {
    let name = names::migration_files_secret(&params.cluster);
    ObjectRef::new(&kinds::secret(), &params.namespace, &name)
}

/// The Secret with the scripts. From now on the machine can boot.
async fn write_files(
    ctx: &Context<Ports>,
    params: &Params,
    machine: &str,
) -> Result<(), StepError> {
    let data = target::migration_files(&params.etcd, params.partition)
        .into_iter()
        .map(|(key, text)| (key, SecretBytes::new(text.into_bytes())))
        .collect();
    let object = files_secret(params);
    let capi = ctx.ports().capi_mc();
    let known = capi.find_secret(&object.namespace, &object.name).await?;
    if known.is_some_and(|known| known.data == data) {
        return Ok(());
    }
    let labels = [
        (kinds::CAPI_CLUSTER_LABEL.to_owned(), params.cluster.clone()),
        (kinds::CLUSTER_LABEL.to_owned(), params.cluster.clone()),
    ];
    let secret = SecretObject {
        namespace: object.namespace,
        name: object.name,
        type_: OPAQUE.to_owned(),
        labels: labels.into(),
        annotations: [(names::MIGRATION.to_owned(), ctx.workflow().to_owned())].into(),
        data,
    };
    let permit = ctx.permit_for("write-files", machine).await?;
    Ok(capi.apply_secret(permit, secret).await?)
}

/// CABPK has looked in vain, and waits longer each time; a change makes it look at once.
async fn touch(ctx: &Context<Ports>, params: &Params, machine: &str) -> Result<(), StepError> {
    let object = ObjectRef::new(&kinds::kubeadm_config(), &params.namespace, machine);
    let config = ctx.ports().capi_mc().get(&object).await?;
    if annotation(&config, TOUCHED).is_some() {
        return Ok(());
    }
    let permit = ctx.permit_for("touch-bootstrap", machine).await?;
    let patch = json!({"metadata": {"annotations": {TOUCHED: "true"}}});
    ctx.ports()
        .capi_mc()
        .merge_patch(permit, &object, patch, None)
        .await?;
    Ok(())
}

async fn wait_for_instance(
    ctx: &Context<Ports>,
    params: &Params,
    machine: &str,
) -> Result<Instance, StepError> {
    ctx.wait_until(
        "the machine's instance",
        seconds(5),
        minutes(15),
        || async {
            let Some(id) = control_plane::instance_of(ctx, &params.namespace, machine).await?
            else {
                return Ok(Poll::Pending(bootstrap_state(ctx, params, machine).await?));
            };
            let found = instances(ctx, params)
                .await?
                .into_iter()
                .find(|instance| instance.id == id);
            Ok(match found {
                Some(instance) if instance.state == "running" => Poll::Ready(instance),
                Some(instance) => Poll::Pending(format!("{id} is {}", instance.state)),
                None => Poll::Pending(format!("{id} is not listed")),
            })
        },
    )
    .await
}

/// Why there is no instance yet, in the bootstrap provider's words.
async fn bootstrap_state(
    ctx: &Context<Ports>,
    params: &Params,
    machine: &str,
) -> Result<String, StepError> {
    let object = ObjectRef::new(&kinds::kubeadm_config(), &params.namespace, machine);
    let config = ctx.ports().capi_mc().get(&object).await?;
    if config["status"]["dataSecretName"].is_string() {
        return Ok("bootstrap data is there, the instance is not".to_owned());
    }
    let message = config["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap_or_default();
    Ok(format!("there is no bootstrap data: {message}"))
}

/// Instances of the control plane's machines.
pub(super) async fn instances(
    ctx: &Context<Ports>,
    params: &Params,
) -> Result<Vec<Instance>, StepError> {
    let tag = names::tag_capa_cluster(&params.cluster);
    let tags = [
        (tag.as_str(), "owned"),
        (names::TAG_CAPA_ROLE, "control-plane"),
    ];
    Ok(ctx
        .ports()
        .cloud(&params.cluster)
        .describe_instances(&tags)
        .await?)
}

/// Waits until the machine has added its member, started or not; false when it never does.
async fn member_appears(
    ctx: &Context<Ports>,
    params: &Params,
    instance: &Instance,
    since: Timestamp,
) -> Result<bool, StepError> {
    let peer = peer_url(instance);
    // The time is kept across attempts, so the wait itself has no end of its own.
    let within = REPLACE_AFTER * 2;
    ctx.wait_until("the machine to join etcd", seconds(5), within, || async {
        let members = ctx.ports().etcd(&params.cluster).member_list().await?;
        let there = members
            .iter()
            .any(|member| member.peer_urls.contains(&peer));
        Ok(if there {
            Poll::Ready(true)
        } else if ctx.now().since(since) >= REPLACE_AFTER {
            Poll::Ready(false)
        } else {
            Poll::Pending(format!("{} boots", instance.id))
        })
    })
    .await
}

pub(super) fn peer_url(instance: &Instance) -> String {
    format!("https://{}:2380", instance.private_ip)
}

/// Waits until the member votes and etcd is whole with it.
async fn wait_for_member(
    ctx: &Context<Ports>,
    params: &Params,
    instance: &Instance,
) -> Result<(), StepError> {
    ctx.wait_until("the member to vote", seconds(5), minutes(10), || async {
        let members = ctx.ports().etcd(&params.cluster).member_list().await?;
        if !members
            .iter()
            .any(|member| member.name == instance.private_dns)
        {
            return Ok(Poll::Pending("it has not started".to_owned()));
        }
        Ok(match etcd::ailment(ctx, &params.cluster, &members).await? {
            None => Poll::Ready(()),
            Some(why) => Poll::Pending(why),
        })
    })
    .await
}

async fn wait_for_node(
    ctx: &Context<Ports>,
    params: &Params,
    machine: &str,
) -> Result<String, StepError> {
    ctx.wait_until(
        "the Machine to find its Node",
        seconds(5),
        minutes(15),
        || async {
            let object = ObjectRef::new(&kinds::machine(), &params.namespace, machine);
            let found = ctx.ports().capi_mc().get(&object).await?;
            Ok(match found["status"]["nodeRef"]["name"].as_str() {
                Some(node) => Poll::Ready(node.to_owned()),
                None => Poll::Pending(format!(
                    "its phase is {}",
                    found["status"]["phase"].as_str().unwrap_or("unknown")
                )),
            })
        },
    )
    .await
}

pub(super) async fn observe(
    ctx: &Context<Ports>,
    params: &Params,
) -> Result<Observed<Output>, StepError> {
    let members = ctx.ports().etcd(&params.cluster).member_list().await?;
    let others = etcd::others(&members, &params.vintage_members);
    let machines = control_plane::machines(ctx, &params.namespace, &params.cluster).await?;
    if let ([member], [machine]) = (others.as_slice(), machines.as_slice())
        && let Some(node) = machine.node.as_ref().filter(|node| **node == member.name)
        && !member.learner
        && let Some(instance) =
            control_plane::instance_of(ctx, &params.namespace, &machine.name).await?
    {
        return Ok(Observed::Done(Output {
            machine: machine.name.clone(),
            instance,
            node: node.clone(),
        }));
    }
    let files = ctx
        .ports()
        .capi_mc()
        .find(&files_secret(params))
        .await?
        .is_some();
    let begun = files || !others.is_empty() || !instances(ctx, params).await?.is_empty();
    Ok(if begun {
        Observed::Partial
    } else {
        Observed::NotDone
    })
}
