//! What `kubeadm init` does between writing manifests and making cluster objects: it waits for the API server.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::api;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct WaitApiArgs {
    /// Whose API
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Also binds the group of kubeadm's administrators, as `kubeadm init` does (upstream `EnsureAdminClusterRoleBinding`)
    #[arg(long)]
    cluster_admins: bool,
}

/// As long as kubeadm waits for a control plane (upstream `ControlPlaneComponentHealthCheck`).
const PATIENCE: Duration = Duration::from_secs(240);

/// Waits.
pub(crate) async fn wait(args: &WaitApiArgs) -> anyhow::Result<()> {
    let ready = async {
        loop {
            let look = async {
                let client = api::client(&args.kubeconfig).await?;
                let request = http::Request::get("/readyz").body(Vec::new())?;
                anyhow::Ok((client.request_text(request).await?, client))
            };
            match look.await {
                Ok((_, client)) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    };
    let Ok(client) = tokio::time::timeout(PATIENCE, ready).await else {
        bail!(
            "the API server did not get ready within {} s",
            PATIENCE.as_secs()
        );
    };
    if args.cluster_admins {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "kubeadm:cluster-admins"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "kubeadm:cluster-admins"}],
        });
        api::apply(&client, &binding).await?;
    }
    Ok(())
}
