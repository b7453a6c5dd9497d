//! The lab's certificates and keys, made on the spot.

use std::path::Path;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::process::run;

/// A certificate authority.
pub(crate) struct Ca {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    /// Certificate.
    pub certificate: String,
    /// Key.
    pub key: String,
}

impl Ca {
    /// Makes one.
    pub(crate) fn new(common_name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// A certificate for servers and clients alike, as the vintage ones are. `names` may be addresses.
    pub(crate) fn issue(
        &self,
        common_name: &str,
        organization: &str,
        names: &[String],
    ) -> anyhow::Result<Pair> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        if !organization.is_empty() {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }

    /// A kubeconfig with a client certificate for `user` in `group`.
    pub(crate) fn kubeconfig(
        &self,
        server: &str,
        user: &str,
        group: &str,
    ) -> anyhow::Result<String> {
        let pair = self.issue(user, group, &[])?;
        Ok(format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: lab\n  cluster:\n    server: {server}\n    certificate-authority-data: {}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\ncontexts:\n- name: lab\n  context: {{cluster: lab, user: {user}}}\ncurrent-context: lab\n",
            STANDARD.encode(&self.certificate),
            STANDARD.encode(&pair.certificate),
            STANDARD.encode(&pair.key),
        ))
    }
}

/// A key pair for service-account tokens: private and public half, PEM. RSA in PKCS#1, as vintage clusters have it; `kubeadm`
/// makes it in `folder`.
pub(crate) async fn token_key(kubeadm: &Path, folder: &Path) -> anyhow::Result<(String, String)> {
    let text = |path: &Path| path.display().to_string();
    std::fs::create_dir_all(folder)?;
    // Without an address kubeadm looks for one, and the lab has no default route.
    let config = folder.join("kubeadm.yaml");
    let settings = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nlocalAPIEndpoint: {advertiseAddress: 192.0.2.1}\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.34.4\ncertificatesDir: ";
    std::fs::write(&config, format!("{settings}{}\n", text(folder)))?;
    let args = ["init", "phase", "certs", "sa", "--config", &text(&config)];
    run(&text(kubeadm), &args).await?;
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    Ok((read("sa.key")?, read("sa.pub")?))
}

/// A configuration of encryption at rest with a fresh secretbox key, as vintage clusters have it.
pub(crate) fn encryption_config() -> anyhow::Result<String> {
    let secret = STANDARD.encode(random_bytes().context("randomness")?);
    Ok(format!(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  providers:\n  - secretbox:\n      keys:\n      - {{name: key1, secret: {secret}}}\n  - identity: {{}}\n"
    ))
}

fn random_bytes() -> anyhow::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
