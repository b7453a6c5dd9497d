//! A customer's belongings: a token and a Secret from before the migration.

use std::sync::Arc;

use drover_model::pki::Certificate;
use drover_ports::{Caller, Gvk, Ports, SecretBytes, SecretObject, Via};

use crate::stage::Town;

const ACTIONS: &[&str] = &[
    "workload:list:Secret",
    "workload:get-data:Secret",
    "workload:create:TokenRequest",
    "workload:create:TokenReview",
    "probe:ServedCa",
    "ca:Check",
];

/// What a customer has of a cluster.
pub(crate) struct Customer {
    ports: Ports,
    cluster: String,
    ca: String,
    token: SecretBytes,
    secrets: Vec<(String, String, SecretObject)>,
}

impl Customer {
    /// Before anything happened.
    pub(crate) async fn of(town: &Town) -> Self {
        let caller = Caller {
            installation: town.installation.clone(),
            kind: "customer.looks/1".to_owned(),
            workflow: "customer".to_owned(),
            step: "looks".to_owned(),
            attempt: 1,
            worker: "customer".to_owned(),
        };
        let ports = Ports::new(Arc::new(town.world.door()), caller, ACTIONS);
        let kube = ports.workload(&town.cluster, Via::OldName);
        let token = kube.request_token("kube-system", "default").await.unwrap();
        let mut secrets = Vec::new();
        for listed in kube
            .list(&Gvk::new("", "v1", "Secret"), "", &[])
            .await
            .unwrap()
        {
            let text = |field: &str| listed["metadata"][field].as_str().unwrap().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            let secret = kube.get_secret(&namespace, &name).await.unwrap();
            secrets.push((namespace, name, secret));
        }
        assert!(!secrets.is_empty(), "there is something to lose");
        let ca = ports.ca_source(&town.cluster).check().await.unwrap();
        let ca = Certificate::from_pem(&ca).unwrap();
        Self {
            cluster: town.cluster.clone(),
            ca: ca.fingerprint,
            token,
            secrets,
            ports,
        }
    }

    /// Asserts that all of it is still good, through the old name.
    pub(crate) async fn assert_nothing_lost(&self) {
        let probe = self.ports.probe(&self.cluster);
        assert_eq!(probe.served_ca(Via::OldName).await.unwrap(), self.ca);
        assert!(self.is_known().await);
        assert!(self.can_read_secrets().await, "every Secret is as it was");
    }

    /// Fetches another token, as whoever reads it again does in time.
    pub(crate) async fn renew(&mut self) {
        let kube = self.ports.workload(&self.cluster, Via::OldName);
        self.token = kube.request_token("kube-system", "default").await.unwrap();
    }

    /// Whether the token is good still.
    pub(crate) async fn is_known(&self) -> bool {
        let kube = self.ports.workload(&self.cluster, Via::OldName);
        kube.review_token(self.token.clone()).await.unwrap()
    }

    /// Whether every Secret can be read through the old name, and is as it was.
    pub(crate) async fn can_read_secrets(&self) -> bool {
        let kube = self.ports.workload(&self.cluster, Via::OldName);
        for (namespace, name, before) in &self.secrets {
            let now = kube.get_secret(namespace, name).await;
            if !now.is_ok_and(|now| now.data == before.data) {
                return false;
            }
        }
        true
    }
}
