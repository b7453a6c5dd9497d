//! Certificates and keys, as far as a migration has to prove that they belong together. Nothing here keeps a private
//! key: what comes out is public.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    },
};
use thiserror::Error;
use x509_parser::{
    certificate::X509Certificate,
    prelude::{FromDer, SubjectPublicKeyInfo},
};
use zeroize::Zeroizing;

use crate::sha256_hex;

/// Why a PEM text was not understood. Never shows what it contains.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PkiError {
    /// Not PEM, or not exactly one block.
    #[error("the text is not exactly one PEM block")]
    NotOnePem,
    /// A block of another kind.
    #[error("a PEM block {found:?} where {wanted} was expected")]
    Kind {
        /// Its label.
        found: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// The block's content is broken.
    #[error("the PEM block does not hold a readable {0}")]
    Content(&'static str),
}

/// The public side of an X.509 certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of its DER, hex.
    pub fingerprint: String,
    /// Common name of its subject; empty when it has none.
    pub common_name: String,
    /// End of its validity, seconds since 1970.
    pub not_after_unix: i64,
    /// `CA:TRUE`
    pub is_ca: bool,
    /// Subject and issuer are the same.
    pub self_issued: bool,
    /// The bits of its public key.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// Reads one PEM block.
    ///
    /// # Errors
    /// When it is not one certificate.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let der = one_block(pem, "a certificate", |label| label == "CERTIFICATE")?.1;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| PkiError::Content("certificate"))?;
        let common_name = certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            fingerprint: sha256_hex(&der),
            common_name,
            not_after_unix: certificate.validity().not_after.timestamp(),
            is_ca: certificate.is_ca(),
            self_issued: certificate.subject() == certificate.issuer(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }
}

/// The public key's bits of a private key in PEM: PKCS#1 (RSA, what Vault and kubeadm write) or PKCS#8 (RSA, P-256,
/// P-384).
///
/// # Errors
/// When it is not one such key.
pub fn public_key_of_private(pem: &[u8]) -> Result<Vec<u8>, PkiError> {
    let text = std::str::from_utf8(pem).map_err(|_| PkiError::NotOnePem)?;
    let (label, der) = one_block(text, "a private key", |label| {
        label == "RSA PRIVATE KEY" || label == "PRIVATE KEY"
    })?;
    let rsa = |pair: rsa::KeyPair| pair.public_key().as_ref().to_vec();
    if label == "RSA PRIVATE KEY" {
        return rsa::KeyPair::from_der(&der)
            .map(rsa)
            .map_err(|_| PkiError::Content("private key"));
    }
    if let Ok(pair) = rsa::KeyPair::from_pkcs8(&der) {
        return Ok(rsa(pair));
    }
    let random = ring::rand::SystemRandom::new();
    [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
    ]
    .into_iter()
    .find_map(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &der, &random).ok())
    .map(|pair| pair.public_key().as_ref().to_vec())
    .ok_or(PkiError::Content("private key"))
}

/// The bits of a public key in PEM: SubjectPublicKeyInfo, or PKCS#1 for RSA.
///
/// # Errors
/// When it is not one public key.
pub fn public_key(pem: &[u8]) -> Result<Vec<u8>, PkiError> {
    let text = std::str::from_utf8(pem).map_err(|_| PkiError::NotOnePem)?;
    let (label, der) = one_block(text, "a public key", |label| {
        label == "PUBLIC KEY" || label == "RSA PUBLIC KEY"
    })?;
    if label == "RSA PUBLIC KEY" {
        return Ok(der.to_vec());
    }
    let (_, info) =
        SubjectPublicKeyInfo::from_der(&der).map_err(|_| PkiError::Content("public key"))?;
    Ok(info.subject_public_key.data.to_vec())
}

/// SHA-256 of a public key's bits, hex: how references name a key pair.
pub fn key_fingerprint(public_key: &[u8]) -> String {
    sha256_hex(public_key)
}

/// Label and DER of a text that is exactly one PEM block.
fn one_block(
    text: &str,
    wanted: &'static str,
    accept: impl Fn(&str) -> bool,
) -> Result<(String, Zeroizing<Vec<u8>>), PkiError> {
    let text = text.trim();
    let inner = text
        .strip_prefix("-----BEGIN ")
        .ok_or(PkiError::NotOnePem)?;
    let (label, rest) = inner.split_once("-----").ok_or(PkiError::NotOnePem)?;
    let (body, tail) = rest.split_once("-----END ").ok_or(PkiError::NotOnePem)?;
    if tail != format!("{label}-----") {
        return Err(PkiError::NotOnePem);
    }
    if !accept(label) {
        return Err(PkiError::Kind {
            found: label.to_owned(),
            wanted,
        });
    }
    let compact = Zeroizing::new(body.split_whitespace().collect::<String>());
    let der = STANDARD
        .decode(compact.as_bytes())
        .map_err(|_| PkiError::NotOnePem)?;
    Ok((label.to_owned(), Zeroizing::new(der)))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;

    fn ca() -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "ab1c2.example");
        (params.self_signed(&key).unwrap().pem(), key)
    }

    #[test]
    fn a_certificate_and_its_key_have_the_same_public_key() {
        let (pem, key) = ca();
        let certificate = Certificate::from_pem(&pem).unwrap();
        assert!(certificate.is_ca && certificate.self_issued);
        assert_eq!(certificate.common_name, "ab1c2.example");
        let of_private = public_key_of_private(key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(certificate.public_key, of_private);
        let of_public = public_key(key.public_key_pem().as_bytes()).unwrap();
        assert_eq!(of_public, of_private);

        let (_, stranger) = ca();
        let other = public_key_of_private(stranger.serialize_pem().as_bytes()).unwrap();
        assert_ne!(certificate.public_key, other);
    }

    #[test]
    fn two_blocks_and_other_kinds_are_refused() {
        let (pem, key) = ca();
        assert_eq!(
            Certificate::from_pem(&format!("{pem}{pem}")),
            Err(PkiError::NotOnePem)
        );
        assert_eq!(Certificate::from_pem("nonsense"), Err(PkiError::NotOnePem));
        let error = Certificate::from_pem(&key.serialize_pem()).unwrap_err();
        assert!(matches!(error, PkiError::Kind { .. }), "{error}");
        assert!(
            !error.to_string().contains("MI"),
            "an error must not show key material"
        );
    }
}
