//! What never changes about a cluster, derived from its custom resources and its installation.

use drover_model::{Version, VintageCluster, names};
use serde_json::Value;

use crate::{InstallationConfig, chance::Chance, state::Facts};

/// What vintage clusters use when nothing says otherwise.
const SERVICE_CIDR: &str = "172.31.0.0/16";
const POD_CIDR: &str = "10.2.0.0/16";

pub(super) fn of(
    vintage: &VintageCluster,
    installation: &InstallationConfig,
    chance: &Chance,
) -> Facts {
    let or = |value: &str, default: &str| if value.is_empty() { default } else { value }.to_owned();
    let partition = vintage.partition();
    let account = account_of(vintage).unwrap_or_else(|| {
        // Clusters that name no credentials of their own share the installation's account.
        let shared = Chance::new(0, &installation.name);
        format!(
            "{:012}",
            shared.below(899_999_999_999, "account", "default") + 100_000_000_000
        )
    });
    let base_domain = or(vintage.base_domain(), &installation.base_domain);
    Facts {
        id: vintage.id.clone(),
        namespace: vintage.namespace.clone(),
        organization: vintage.organization().to_owned(),
        installation: installation.name.clone(),
        region: vintage.region.clone(),
        partition,
        capa_role_arn: partition.role_arn(&account, &names::capa_role(&installation.name)),
        account,
        old_name: names::old_api(&vintage.id, &base_domain),
        base_domain,
        new_name: names::new_api(&vintage.id, &installation.capi_domain),
        masters: vintage.replicas(),
        kubernetes: kubernetes_of(vintage.release()),
        pod_cidr: or(vintage.pod_cidr(), POD_CIDR),
        service_cidr: or(vintage.service_cidr(), SERVICE_CIDR),
        control_plane: or(
            &vintage.control_plane.metadata.name,
            &chance.suffix(5, "control-plane", ""),
        ),
    }
}

/// The account that the credential secret's role lies in, when the secret was among the resources.
fn account_of(vintage: &VintageCluster) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let arn: &Value = vintage
        .raw
        .iter()
        .find(|object| object["kind"] == "Secret" && object["data"]["aws.admin.arn"].is_string())
        .map(|secret| &secret["data"]["aws.admin.arn"])?;
    let arn = String::from_utf8(STANDARD.decode(arn.as_str()?).ok()?).ok()?;
    let account = arn.split(':').nth(4)?;
    (account.len() == 12).then(|| account.to_owned())
}

/// The Kubernetes version of a vintage release.
fn kubernetes_of(release: Option<Version>) -> Version {
    match release.map(|release| release.major) {
        Some(..=17) => Version::new(1, 22, 17),
        Some(18) => Version::new(1, 23, 17),
        Some(19) => Version::new(1, 24, 17),
        _ => Version::new(1, 25, 16),
    }
}
