//! What an order changes about the new machines: word that a migration leaves for the booter, in a lab that runs already.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::place::Place;

/// Nothing by default: machines boot as their bootstrap data says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machines {
    /// Port that their API servers bind, with the redirect the other way round.
    pub bind: Option<u16>,
    /// How the second one's `kubeadm join` fails. Its successor's does not.
    pub join_fails: Option<JoinFails>,
}

/// How a `kubeadm join` fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum JoinFails {
    /// Before it has changed anything: the machine never has a Node.
    AtOnce,
    /// Its kubelet does not start etcd: etcd has a learner that never comes. The API server beside it does not come either,
    /// so the machine has no Node.
    WithoutEtcd,
}

impl Machines {
    /// Leaves word.
    pub(crate) fn leave(self, place: &Place) -> anyhow::Result<()> {
        Ok(fs::write(file(place), serde_json::to_vec(&self)?)?)
    }

    /// The word that was left, if any.
    pub(crate) fn read(place: &Place) -> anyhow::Result<Self> {
        match fs::read(file(place)) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }
}

fn file(place: &Place) -> std::path::PathBuf {
    place.path("machines.json")
}
