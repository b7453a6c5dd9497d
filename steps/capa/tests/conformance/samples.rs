//! Params as the definition passed them and outputs as workers stored them, from the first version of each kind on.
//! They must parse for as long as that version exists, so a file is added for a new version and never changed.

use drover_ports::Ports;
use drover_step_api::Step;
use drover_step_testkit::Scenario;
use serde_json::Value;

use crate::stage::Site;

/// Name and version of the kind, params, output.
const SAMPLES: &[(&str, u32, &str)] = &[
    (
        "aws.disarm_node_killers",
        1,
        include_str!("samples/aws.disarm_node_killers-1.json"),
    ),
    (
        "aws.drain_connections",
        1,
        include_str!("samples/aws.drain_connections-1.json"),
    ),
    (
        "aws.move_api_traffic",
        1,
        include_str!("samples/aws.move_api_traffic-1.json"),
    ),
    (
        "aws.sync_api_load_balancers",
        1,
        include_str!("samples/aws.sync_api_load_balancers-1.json"),
    ),
    (
        "capi.apply_node_pool",
        1,
        include_str!("samples/capi.apply_node_pool-1.json"),
    ),
    (
        "aws.disown_stacks",
        1,
        include_str!("samples/aws.disown_stacks-1.json"),
    ),
    (
        "aws.hand_over_dns",
        1,
        include_str!("samples/aws.hand_over_dns-1.json"),
    ),
    (
        "aws.retire_api_load_balancers",
        1,
        include_str!("samples/aws.retire_api_load_balancers-1.json"),
    ),
    (
        "cni.switch_over",
        1,
        include_str!("samples/cni.switch_over-1.json"),
    ),
    (
        "gitops.suspend",
        1,
        include_str!("samples/gitops.suspend-1.json"),
    ),
    (
        "vintage.freeze_mutators",
        1,
        include_str!("samples/vintage.freeze_mutators-1.json"),
    ),
    (
        "vintage.give_back",
        1,
        include_str!("samples/vintage.give_back-1.json"),
    ),
    (
        "vintage.quiesce_apps",
        1,
        include_str!("samples/vintage.quiesce_apps-1.json"),
    ),
    (
        "vintage.remove_custom_resources",
        1,
        include_str!("samples/vintage.remove_custom_resources-1.json"),
    ),
    (
        "capi.apply_objects",
        1,
        include_str!("samples/capi.apply_objects-1.json"),
    ),
    (
        "capi.generate_target",
        1,
        include_str!("samples/capi.generate_target-1.json"),
    ),
    (
        "capi.hold_control_plane",
        1,
        include_str!("samples/capi.hold_control_plane-1.json"),
    ),
    (
        "capi.wait_control_plane",
        2,
        include_str!("samples/capi.wait_control_plane-2.json"),
    ),
    (
        "capi.write_ca_secrets",
        1,
        include_str!("samples/capi.write_ca_secrets-1.json"),
    ),
    (
        "capi.write_encryption_config",
        1,
        include_str!("samples/capi.write_encryption_config-1.json"),
    ),
    (
        "capi.write_service_account_keys",
        1,
        include_str!("samples/capi.write_service_account_keys-1.json"),
    ),
    (
        "etcd.converge",
        1,
        include_str!("samples/etcd.converge-1.json"),
    ),
    (
        "etcd.join_first_member",
        1,
        include_str!("samples/etcd.join_first_member-1.json"),
    ),
    (
        "etcd.save_snapshot",
        1,
        include_str!("samples/etcd.save_snapshot-1.json"),
    ),
    (
        "vintage.drain_nodes",
        1,
        include_str!("samples/vintage.drain_nodes-1.json"),
    ),
    (
        "vintage.inventory",
        1,
        include_str!("samples/vintage.inventory-1.json"),
    ),
    (
        "vintage.pause_operators",
        1,
        include_str!("samples/vintage.pause_operators-1.json"),
    ),
    (
        "vintage.replace_nodes",
        1,
        include_str!("samples/vintage.replace_nodes-1.json"),
    ),
    (
        "vintage.retire_masters",
        1,
        include_str!("samples/vintage.retire_masters-1.json"),
    ),
    (
        "vintage.retire_node_pool",
        1,
        include_str!("samples/vintage.retire_node_pool-1.json"),
    ),
    (
        "vintage.stop_control_plane",
        1,
        include_str!("samples/vintage.stop_control_plane-1.json"),
    ),
    (
        "vintage.stop_etcd",
        1,
        include_str!("samples/vintage.stop_etcd-1.json"),
    ),
];

pub(crate) fn of<S: Step<Ports>>(scenario: Scenario<Site>) -> Scenario<Site> {
    let (name, version) = (S::DECLARATION.name, S::DECLARATION.version);
    let Some((_, _, text)) = SAMPLES.iter().find(|(n, v, _)| (*n, *v) == (name, version)) else {
        return scenario;
    };
    let mut sample: Value = serde_json::from_str(text).unwrap();
    scenario
        .params_sample(sample["params"].take())
        .output_sample(sample["output"].take())
}
