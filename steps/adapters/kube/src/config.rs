//! Where the management clusters are.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

/// Kubeconfig files of the two management clusters. Their current contexts count.
#[derive(Clone, Debug)]
pub struct KubeConfig {
    /// Of the vintage management cluster, which holds the vintage custom resources, certificates and kubeconfigs.
    pub vintage_mc: PathBuf,
    /// Of the Cluster API management cluster.
    pub capi_mc: PathBuf,
}

/// The adapter cannot begin.
#[derive(Debug, Error)]
pub enum KubeAdapterError {
    /// A kubeconfig is not there, or is none. What it holds is not repeated.
    #[error("kubeconfig {path} cannot be read: {why}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Without any of its text.
        why: String,
    },
}

impl KubeConfig {
    /// Reads both once, so that a mistake is known at the start. Blocks for two small files.
    pub(crate) fn check(&self) -> Result<(), KubeAdapterError> {
        for path in [&self.vintage_mc, &self.capi_mc] {
            Kubeconfig::read_from(path).map_err(|error| KubeAdapterError::Kubeconfig {
                path: path.clone(),
                why: reason(&error),
            })?;
        }
        Ok(())
    }
}

/// Reads a management cluster's kubeconfig. Small and local, so it may block.
pub(crate) async fn read(path: &Path) -> Result<kube::Config, String> {
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| reason(&error))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| reason(&error))
}

/// Parses the text of a kubeconfig. It comes from elsewhere, so it may not name programs to be run here.
pub(crate) async fn parse(text: &str) -> Result<kube::Config, String> {
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| reason(&error))?;
    let runs_programs = kubeconfig
        .auth_infos
        .iter()
        .filter_map(|user| user.auth_info.as_ref())
        .any(|user| user.exec.is_some() || user.auth_provider.is_some());
    if runs_programs {
        return Err("its credentials come from a program, which is not run".to_owned());
    }
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| reason(&error))
}

/// Why a kubeconfig cannot be used. Parsers quote what they stumble over, and here that may be a key.
fn reason(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(source, _) => source.to_string(),
        KubeconfigError::Parse(_) => "it is not the YAML of a kubeconfig".to_owned(),
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "its certificate authority cannot be read".to_owned()
        }
        KubeconfigError::LoadClientCertificate(_) => {
            "its client certificate cannot be read".to_owned()
        }
        KubeconfigError::LoadClientKey(_) => "its client key cannot be read".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reason_quotes_nothing() {
        let text = "users: [{name: a, user: {client-key-data: [SECRET]}}]";
        let why = parse(text).await.unwrap_err();
        assert!(!why.contains("SECRET"), "{why}");
    }

    #[tokio::test]
    async fn no_program_is_run() {
        let text = "users: [{name: a, user: {exec: {command: /bin/true}}}]";
        let why = parse(text).await.unwrap_err();
        assert!(why.contains("program"), "{why}");
    }

    #[test]
    fn a_missing_file_is_found_out_at_the_start() {
        let config = KubeConfig {
            vintage_mc: "/nowhere/vintage".into(),
            capi_mc: "/nowhere/capi".into(),
        };
        let error = config.check().unwrap_err();
        assert!(error.to_string().contains("/nowhere/vintage"), "{error}");
    }
}
