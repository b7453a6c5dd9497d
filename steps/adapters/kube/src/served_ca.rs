//! Which CA has signed the certificate that an API server shows.

use std::{sync::Arc, time::Duration};

use drover_ports::{PortError, PortErrorKind};
use kube::client::ConfigExt as _;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use crate::{asked::Asked, error::chain};

/// TCP and TLS together.
const LIMIT: Duration = Duration::from_secs(5);

/// A handshake. Answers the SHA-256, hex, of the first CA certificate of the kubeconfig that the shown chain leads to.
///
/// # Errors
/// `Unreachable` when there is no handshake, or the chain leads to none of them.
pub(crate) async fn fingerprint(
    config: &kube::Config,
    asked: Asked<'_>,
) -> Result<String, PortError> {
    let roots = config.root_cert.as_deref().unwrap_or_default();
    if roots.is_empty() {
        return Err(asked.invalid("the kubeconfig names no certificate authority"));
    }
    let host = config.cluster_url.host().unwrap_or_default();
    let name = config.tls_server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(bare(name).to_owned())
        .map_err(|_| asked.invalid(format!("{name:?} is no server name")))?;
    let chain = timeout(LIMIT, handshake(config, bare(host), &name))
        .await
        .unwrap_or_else(|_| Err(format!("no handshake within {} s", LIMIT.as_secs())))
        .map_err(|why| asked.error(PortErrorKind::Unreachable, why))?;
    roots
        .iter()
        .find(|root| leads_to(root, &chain, &name))
        .map(|root| hex::encode(Sha256::digest(root)))
        .ok_or_else(|| {
            let why = "the certificate that is shown leads to no known CA";
            asked.error(PortErrorKind::Unreachable, why)
        })
}

/// The chain that is shown, once it has been verified.
async fn handshake(
    config: &kube::Config,
    host: &str,
    name: &ServerName<'static>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let client = config
        .rustls_client_config()
        .map_err(|_| "the kubeconfig's certificates or key cannot be used".to_owned())?;
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| chain(&error))?;
    let stream = TlsConnector::from(Arc::new(client))
        .connect(name.clone(), stream)
        .await
        .map_err(|error| chain(&error))?;
    let (_, session) = stream.get_ref();
    Ok(session.peer_certificates().unwrap_or_default().to_vec())
}

/// True when a chain leads to this very CA.
fn leads_to(root: &[u8], chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> bool {
    let Some((shown, between)) = chain.split_first() else {
        return false;
    };
    let mut store = RootCertStore::empty();
    if store.add(CertificateDer::from(root)).is_err() {
        return false;
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .is_ok_and(|verifier| {
            verifier
                .verify_server_cert(shown, between, name, &[], UnixTime::now())
                .is_ok()
        })
}

/// A host without the brackets that URLs put around IPv6 addresses.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn ca() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn the_ca_is_told_from_others_of_the_same_name() {
        let (own, other) = (ca(), ca());
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["api.example.com".to_owned()]).unwrap();
        let shown = params.signed_by(&key, &own).unwrap();
        let chain = [shown.der().clone()];
        let name = ServerName::try_from("api.example.com").unwrap();
        assert!(leads_to(own.der(), &chain, &name));
        assert!(!leads_to(other.der(), &chain, &name));
        assert!(!leads_to(own.der(), &[], &name));
    }

    #[test]
    fn brackets_go() {
        assert_eq!(bare("[fd00::1]"), "fd00::1");
        assert_eq!(bare("api.example.com"), "api.example.com");
    }
}
