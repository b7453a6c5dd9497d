//! The CA's source, and the region store.

use drover_model::sha256_hex;
use drover_ports::{
    CaBundle, CaCall, CaReply, PortError, PortErrorKind, Reply, StoreCall, StoreReply,
};

use super::Done;
use crate::{genesis::Site, state::Cluster};

pub(super) fn ca(cluster: &Cluster, call: &CaCall) -> Done {
    let keys = &cluster.keys;
    let reply = match call {
        CaCall::Fetch => CaReply::Bundle(CaBundle {
            certificate_pem: keys.ca_certificate.clone(),
            private_key_pem: keys.ca_key.clone(),
        }),
        CaCall::Check => CaReply::Available {
            certificate_pem: keys.ca_certificate.clone(),
        },
    };
    Done::read(Reply::Ca(reply))
}

pub(super) fn key_of(call: &StoreCall) -> &str {
    match call {
        StoreCall::Head { key } | StoreCall::Get { key } | StoreCall::Put { key, .. } => key,
    }
}

pub(super) fn region_store(
    site: &mut Site,
    call: &StoreCall,
    action: &str,
) -> Result<Done, PortError> {
    let missing = |key: &str| {
        PortError::new(
            PortErrorKind::NotFound,
            action,
            format!("there is no object {key}"),
        )
        .with_code("NoSuchKey")
    };
    let digest = |data: &drover_ports::SecretBytes| StoreReply::Digest {
        sha256: sha256_hex(data.expose()),
    };
    match call {
        StoreCall::Head { key } => {
            let data = site.region_store.get(key).ok_or_else(|| missing(key))?;
            Ok(Done::read(Reply::RegionStore(digest(data))))
        }
        StoreCall::Get { key } => {
            let data = site.region_store.get(key).ok_or_else(|| missing(key))?;
            Ok(Done::read(Reply::RegionStore(StoreReply::Data {
                data: data.clone(),
            })))
        }
        StoreCall::Put { key, data } => {
            let before = site.region_store.insert(key.clone(), data.clone());
            Ok(Done {
                reply: Reply::RegionStore(digest(data)),
                changed: before.as_ref() != Some(data),
                touched: None,
            })
        }
    }
}
