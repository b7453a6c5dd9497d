//! TLS to etcd members: our client certificate, and a check of theirs that asks who signed it but not for whom.

use std::sync::Arc;

use drover_ports::{EtcdIdentity, PortError, PortErrorKind};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

/// A client configuration for `identity`; HTTP/2 only.
///
/// # Errors
/// `Invalid` when the identity is none; the message says which part, never what it holds.
pub(crate) fn client_config(
    identity: &EtcdIdentity,
    action: &str,
) -> Result<ClientConfig, PortError> {
    let invalid = |what: &str| {
        let message = format!("{what} of etcd's client identity cannot be used");
        PortError::new(PortErrorKind::Invalid, action, message)
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(identity.ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| invalid("the CA certificate"))?;
        roots
            .add(certificate)
            .map_err(|_| invalid("the CA certificate"))?;
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| invalid("the certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(identity.private_key_pem.expose())
        .map_err(|_| invalid("the private key"))?;
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|_| invalid("the CA certificate"))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| invalid("the TLS version"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainOnly(verifier)))
        .with_client_auth_cert(chain, key)
        .map_err(|_| invalid("the certificate or the private key"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Accepts whatever the cluster's CA has signed for servers and is in date, whichever name it bears.
///
/// Vintage members' certificates name no node addresses, and the host is certain without: the tunnel leads to it, by
/// way of an API server that has shown a certificate for its own name.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // The name is looked at last: when only that is wrong, the chain holds.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use drover_ports::SecretBytes;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
        KeyPair,
    };
    use tokio_rustls::{TlsAcceptor, TlsConnector, rustls::ServerConfig};

    use super::*;

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn ca() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn signed(ca: &Ca, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, ca).unwrap().pem(), key)
    }

    fn identity(ca: &Ca) -> EtcdIdentity {
        let (certificate_pem, key) = signed(ca, "client", ExtendedKeyUsagePurpose::ClientAuth);
        EtcdIdentity {
            ca_pem: ca.pem(),
            certificate_pem,
            private_key_pem: SecretBytes::new(key.serialize_pem().into_bytes()),
        }
    }

    /// A handshake of our side with a member whose certificate `ca` has signed for `name`.
    async fn handshake(ours: &EtcdIdentity, ca: &Ca, name: &str) -> Result<(), std::io::Error> {
        let (certificate, key) = signed(ca, name, ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec()];
        let client = client_config(ours, "etcd:Status").unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let asked = ServerName::try_from("etcd").unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (ours, _theirs) = tokio::join!(connector.connect(asked, near), acceptor.accept(far));
        ours.map(|_| ())
    }

    #[tokio::test]
    async fn the_right_ca_is_enough_whatever_the_name() {
        let ca = ca();
        let ours = identity(&ca);
        handshake(&ours, &ca, "etcd").await.unwrap();
        handshake(&ours, &ca, "somebody.else").await.unwrap();
    }

    #[tokio::test]
    async fn another_ca_is_refused_whatever_the_name() {
        let ours = identity(&ca());
        let other = ca();
        for name in ["etcd", "somebody.else"] {
            let error = handshake(&ours, &other, name).await.unwrap_err();
            assert!(
                error.to_string().contains("invalid peer certificate"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_identity_that_is_none_is_invalid_and_keeps_its_key() {
        let ours = EtcdIdentity {
            private_key_pem: SecretBytes::new(b"not a key".to_vec()),
            ..identity(&ca())
        };
        let error = client_config(&ours, "etcd:Status").unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid);
        assert!(!error.message.contains("not a key"));
    }
}
