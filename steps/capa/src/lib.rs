//! Step kinds of the live migration from vintage AWS clusters to Cluster API, and of what comes weeks after it.
//!
//! One kind a file; each file opens with its effect, what makes it safe to repeat, and its way back. `support` holds what
//! several kinds need. Kinds see the outside through ports only and depend on no other family.
//!
//! [`DEFINITIONS`] put them in order.

pub mod apply_node_pool;
pub mod apply_objects;
pub mod clean_manifest;
pub mod converge_etcd;
pub mod disarm_node_killers;
pub mod disown_stacks;
pub mod drain_connections;
pub mod drain_nodes;
pub mod freeze_mutators;
pub mod generate_target;
pub mod give_back;
pub mod hand_over_dns;
pub mod hold_control_plane;
pub mod inventory;
pub mod join_first_member;
mod kinds;
pub mod move_api_traffic;
pub mod pause_operators;
pub mod quiesce_apps;
pub mod remove_custom_resources;
pub mod replace_nodes;
pub mod retire_api_load_balancers;
pub mod retire_masters;
pub mod retire_node_pool;
pub mod save_snapshot;
pub mod stop_control_plane;
pub mod stop_etcd;
mod support;
pub mod suspend_gitops;
pub mod switch_issuer;
pub mod switch_over_cni;
pub mod sync_api_load_balancers;
pub mod wait_control_plane;
pub mod write_ca_secrets;
pub mod write_encryption_config;
pub mod write_service_account_keys;

use drover_ports::Ports;
use drover_step_api::{Registry, RegistryError};

/// The definition of the live migration, YAML.
pub const AWS_LIVE_MIGRATION: &str = include_str!("../definitions/aws-live-migration.yaml");

/// The definition of what is left to be done weeks after it, YAML.
pub const AWS_AFTER_CARE: &str = include_str!("../definitions/aws-after-care.yaml");

/// The definitions that come with the family.
pub const DEFINITIONS: [&str; 2] = [AWS_LIVE_MIGRATION, AWS_AFTER_CARE];

/// Adds the kinds of this family.
///
/// # Errors
/// When a kind is there already or its declaration contradicts itself.
pub fn registry(into: &mut Registry<Ports>) -> Result<(), RegistryError> {
    into.register(inventory::Inventory)?;
    into.register(suspend_gitops::SuspendGitops)?;
    into.register(pause_operators::PauseOperators)?;
    into.register(quiesce_apps::QuiesceApps)?;
    into.register(freeze_mutators::FreezeMutators)?;
    into.register(disarm_node_killers::DisarmNodeKillers)?;
    into.register(drain_connections::DrainConnections)?;
    into.register(write_ca_secrets::WriteCaSecrets)?;
    into.register(write_service_account_keys::WriteServiceAccountKeys)?;
    into.register(write_encryption_config::WriteEncryptionConfig)?;
    into.register(save_snapshot::SaveSnapshot)?;
    into.register(generate_target::GenerateTarget)?;
    into.register(apply_objects::ApplyObjects)?;
    into.register(hold_control_plane::HoldControlPlane)?;
    into.register(join_first_member::JoinFirstMember)?;
    into.register(move_api_traffic::MoveApiTraffic)?;
    into.register(stop_control_plane::StopControlPlane)?;
    into.register(converge_etcd::ConvergeEtcd)?;
    into.register(wait_control_plane::WaitControlPlane)?;
    into.register(switch_over_cni::SwitchOverCni)?;
    into.register(hand_over_dns::HandOverDns)?;
    into.register(retire_api_load_balancers::RetireApiLoadBalancers)?;
    into.register(disown_stacks::DisownStacks)?;
    into.register(remove_custom_resources::RemoveCustomResources)?;
    into.register(give_back::GiveBack)?;
    into.register(stop_etcd::StopEtcd)?;
    into.register(drain_nodes::DrainNodes)?;
    into.register(retire_masters::RetireMasters)?;
    into.register(apply_node_pool::ApplyNodePool)?;
    into.register(replace_nodes::ReplaceNodes)?;
    into.register(retire_node_pool::RetireNodePool)?;
    into.register(clean_manifest::CleanManifest)?;
    into.register(switch_issuer::SwitchIssuer)?;
    into.register(sync_api_load_balancers::SyncApiLoadBalancers)
}
