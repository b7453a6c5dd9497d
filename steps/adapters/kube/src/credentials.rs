//! Who we are to a workload cluster, and its old name: a kubeconfig, which every door uses.

use drover_ports::SecretBytes;
use http::Uri;
use kube::Config;

use crate::config;

/// A workload cluster's kubeconfig. No `Debug`: it holds a key.
pub(crate) struct Credentials {
    config: Config,
    old_host: String,
}

impl Credentials {
    /// From the text of a kubeconfig whose server is the old name.
    ///
    /// # Errors
    /// One sentence that quotes nothing of it.
    pub(crate) async fn parse(kubeconfig: &SecretBytes) -> Result<Self, String> {
        let text = std::str::from_utf8(kubeconfig.expose())
            .map_err(|_| "it is not the YAML of a kubeconfig".to_owned())?;
        let config = config::parse(text).await?;
        let old_host = config
            .tls_server_name
            .clone()
            .or_else(|| config.cluster_url.host().map(str::to_owned))
            .ok_or_else(|| "its server has no host name".to_owned())?;
        Ok(Self { config, old_host })
    }

    /// Through the old name.
    pub(crate) fn old_name(&self) -> Config {
        self.config.clone()
    }

    /// Through another name, which the API server has a certificate for.
    pub(crate) fn at_name(&self, url: Uri) -> Config {
        let mut config = self.at_address(url);
        config.tls_server_name = None;
        config
    }

    /// Through an address of one API server. Vintage and Cluster API servers all have a certificate for the old name.
    pub(crate) fn at_address(&self, url: Uri) -> Config {
        let mut config = self.config.clone();
        config.cluster_url = url;
        config.tls_server_name = Some(self.old_host.clone());
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: admin
clusters: [{name: c0001, cluster: {server: 'https://api.c0001.k8s.example.com:443'}}]
users: [{name: admin, user: {token: t}}]
contexts: [{name: admin, context: {cluster: c0001, user: admin}}]
";

    #[tokio::test]
    async fn each_door_checks_the_right_name() {
        let text = SecretBytes::new(KUBECONFIG.as_bytes().to_vec());
        let credentials = Credentials::parse(&text).await.unwrap();
        let old = credentials.old_name();
        assert_eq!(old.cluster_url.host(), Some("api.c0001.k8s.example.com"));
        assert_eq!(old.tls_server_name, None);
        let new = credentials.at_name(Uri::from_static("https://elb.example.com:6443"));
        assert_eq!(new.cluster_url.host(), Some("elb.example.com"));
        assert_eq!(new.tls_server_name, None);
        let one = credentials.at_address(Uri::from_static("https://10.0.0.1:443"));
        assert_eq!(one.cluster_url.host(), Some("10.0.0.1"));
        let name = one.tls_server_name.as_deref();
        assert_eq!(name, Some("api.c0001.k8s.example.com"));
        assert!(one.auth_info.token.is_some());
    }
}
