//! What outside calls see and do: one file a port.

mod cloud;
mod dns;
mod etcd;
mod groups;
mod kube;
mod management;
mod stacks;
mod tokens;
mod vault;
mod workload;

use drover_ports::{Call, Cluster as Where, PortError, PortErrorKind, Reply};
use drover_step_api::Timestamp;

use crate::{genesis::Site, objects::StoreError, state::Cluster, world::Realm};

/// What a call did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    pub(crate) changed: bool,
    /// The cluster whose rules have to look.
    pub(crate) touched: Option<String>,
}

impl Done {
    pub(crate) fn read(reply: Reply) -> Self {
        Self {
            reply,
            changed: false,
            touched: None,
        }
    }
}

/// Carries out one call. `nth` is its place among its like, for choices that a load balancer makes.
pub(crate) fn carry_out(
    realm: &mut Realm,
    installation: &str,
    call: &Call,
    nth: u64,
    now: Timestamp,
) -> Result<Done, PortError> {
    let action = call.action();
    match call {
        Call::Kube { at, call } => match at {
            Where::VintageMc | Where::CapiMc => {
                let side = if *at == Where::VintageMc {
                    management::Side::Vintage
                } else {
                    management::Side::Capi
                };
                management::call(realm, installation, side, call, &action, now)
            }
            Where::Workload { cluster, via } => {
                let found = cluster_of(realm, installation, cluster, &action)?;
                workload::call(found, via, call, nth, &action, now)
            }
        },
        Call::Cloud { cluster, call } => cloud::call(
            cluster_of(realm, installation, cluster, &action)?,
            call,
            &action,
            now,
        ),
        Call::Etcd { cluster, call } => {
            let id = cluster.clone();
            let (site, found) = site_and_cluster(realm, installation, &id, &action)?;
            etcd::call(site, found, call, &action)
        }
        Call::Ca { cluster, call } => Ok(vault::ca(
            cluster_of(realm, installation, cluster, &action)?,
            call,
        )),
        Call::RegionStore { call } => {
            let site = realm
                .sites
                .get_mut(installation)
                .ok_or_else(|| unknown_installation(installation, &action))?;
            vault::region_store(site, call, &action)
        }
        Call::Probe { cluster, call } => workload::probe(
            cluster_of(realm, installation, cluster, &action)?,
            call,
            nth,
            &action,
        ),
    }
}

/// What a call is about, for the ledger.
pub(crate) fn target(call: &Call) -> String {
    match call {
        Call::Kube { call, .. } => kube::target(call),
        Call::Cloud { call, .. } => call.target(),
        Call::Etcd { cluster, call } => etcd::target(cluster, call),
        Call::Ca { cluster, .. } | Call::Probe { cluster, .. } => cluster.clone(),
        Call::RegionStore { call } => vault::key_of(call).to_owned(),
    }
}

fn cluster_of<'r>(
    realm: &'r mut Realm,
    installation: &str,
    id: &str,
    action: &str,
) -> Result<&'r mut Cluster, PortError> {
    realm
        .clusters
        .get_mut(id)
        .filter(|cluster| cluster.facts.installation == installation)
        .ok_or_else(|| {
            PortError::new(
                PortErrorKind::NotFound,
                action,
                format!("installation {installation} has no cluster {id}"),
            )
            .with_code("NoSuchCluster")
        })
}

fn site_and_cluster<'r>(
    realm: &'r mut Realm,
    installation: &str,
    id: &str,
    action: &str,
) -> Result<(&'r mut Site, &'r mut Cluster), PortError> {
    cluster_of(realm, installation, id, action)?;
    match (
        realm.sites.get_mut(installation),
        realm.clusters.get_mut(id),
    ) {
        (Some(site), Some(cluster)) => Ok((site, cluster)),
        _ => Err(unknown_installation(installation, action)),
    }
}

fn unknown_installation(installation: &str, action: &str) -> PortError {
    PortError::new(
        PortErrorKind::NotFound,
        action,
        format!("there is no installation {installation:?}"),
    )
    .with_code("NoSuchInstallation")
}

/// An API's refusal as a port error.
fn refused(error: StoreError, action: &str, what: &str) -> PortError {
    match error {
        StoreError::NotFound => {
            PortError::new(PortErrorKind::NotFound, action, format!("{what} not found"))
                .with_code("NotFound")
        }
        StoreError::AlreadyExists => PortError::new(
            PortErrorKind::AlreadyExists,
            action,
            format!("{what} already exists"),
        )
        .with_code("AlreadyExists"),
        StoreError::Conflict(why) => {
            PortError::new(PortErrorKind::Conflict, action, format!("{what}: {why}"))
                .with_code("Conflict")
        }
        StoreError::Invalid(why) => {
            PortError::new(PortErrorKind::Invalid, action, format!("{what}: {why}"))
                .with_code("Invalid")
        }
    }
}
