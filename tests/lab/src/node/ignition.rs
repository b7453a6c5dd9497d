//! Bootstrap data, as a Flatcar machine reads it: Ignition 2.3, which CABPK writes (upstream
//! `bootstrap/kubeadm/internal/ignition`), files and the environment of the kubeadm unit.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::spec::NodeSpec;

/// What the machine runs once its files are laid.
pub(crate) struct KubeadmUnit {
    /// `ExecStart=`
    pub command: String,
    /// `EnvironmentFile=`, in order.
    pub environment_files: Vec<String>,
}

/// Lays the files on the node and answers its kubeadm unit.
pub(crate) fn lay(spec: &NodeSpec, data: &str) -> anyhow::Result<KubeadmUnit> {
    let ignition: Value = serde_json::from_str(data).context("bootstrap data is not Ignition")?;
    for file in ignition["storage"]["files"]
        .as_array()
        .into_iter()
        .flatten()
    {
        lay_file(spec, file)?;
    }
    kubeadm_unit(&ignition)
}

fn lay_file(spec: &NodeSpec, file: &Value) -> anyhow::Result<()> {
    let path = file["path"].as_str().context("a file without a path")?;
    let source = file["contents"]["source"].as_str().unwrap_or("data:,");
    let mut content = data_url(source).with_context(|| format!("the content of {path}"))?;
    if let Some(port) = spec.bind {
        content = bound(path, content, port)?;
    }
    let target = spec.inside(path);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&target, content)?;
    let mode = file["mode"]
        .as_u64()
        .and_then(|mode| u32::try_from(mode).ok());
    fs::set_permissions(&target, fs::Permissions::from_mode(mode.unwrap_or(0o644)))?;
    Ok(())
}

/// What a target whose API servers bind `port` would have: kubeadm told so, and the redirect the other way round, or the
/// vintage load balancers, which send to 443, would find nobody.
fn bound(path: &str, content: Vec<u8>, port: u16) -> anyhow::Result<Vec<u8>> {
    let (from, to) = match path {
        "/etc/kubeadm.yml" => ("bindPort: 443".to_owned(), format!("bindPort: {port}")),
        "/etc/kubeadm.sh" => (
            format!("--dport {port} -j REDIRECT --to-port 443"),
            format!("--dport 443 -j REDIRECT --to-port {port}"),
        ),
        _ => return Ok(content),
    };
    let text = String::from_utf8(content)?;
    if !text.contains(&from) {
        bail!("{path} does not say {from}");
    }
    Ok(text.replace(&from, &to).into_bytes())
}

/// RFC 2397.
fn data_url(url: &str) -> anyhow::Result<Vec<u8>> {
    let rest = url.strip_prefix("data:").context("no data URL")?;
    let (kind, data) = rest.split_once(',').context("no data URL")?;
    if kind.ends_with(";base64") {
        return Ok(STANDARD.decode(data)?);
    }
    percent_decode(data)
}

fn percent_decode(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next(), rest.next()];
            let [Some(high), Some(low)] = digits else {
                bail!("a cut escape");
            };
            let digits = [high, low];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?);
        } else {
            bytes.push(byte);
        }
    }
    Ok(bytes)
}

fn kubeadm_unit(ignition: &Value) -> anyhow::Result<KubeadmUnit> {
    // A unit may stand several times: its file in one place, what is dropped in in another.
    let units = ignition["systemd"]["units"]
        .as_array()
        .into_iter()
        .flatten();
    let texts: Vec<&str> = units
        .filter(|unit| unit["name"] == "kubeadm.service")
        .flat_map(|unit| {
            let dropins = unit["dropins"].as_array().into_iter().flatten();
            std::iter::once(&unit["contents"]).chain(dropins.map(|dropin| &dropin["contents"]))
        })
        .filter_map(Value::as_str)
        .collect();
    let values = |key: &str| -> Vec<String> {
        let lines = texts.iter().flat_map(|text| text.lines());
        lines
            .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
            .map(str::to_owned)
            .collect()
    };
    Ok(KubeadmUnit {
        command: values("ExecStart")
            .pop()
            .context("bootstrap data has no kubeadm.service that starts anything")?,
        environment_files: values("EnvironmentFile"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_read_in_both_forms() {
        assert_eq!(data_url("data:,a%20b%0A").unwrap(), b"a b\n");
        assert_eq!(data_url("data:;base64,aGk=").unwrap(), b"hi");
        assert!(data_url("https://elsewhere").is_err());
        assert!(data_url("data:,a%2").is_err());
    }

    #[test]
    fn another_port_is_bound_and_443_is_redirected_to_it() {
        let bound = |path, text: &str| bound(path, text.as_bytes().to_vec(), 6443);
        let config = bound("/etc/kubeadm.yml", "localAPIEndpoint:\n  bindPort: 443\n").unwrap();
        assert_eq!(config, b"localAPIEndpoint:\n  bindPort: 6443\n");
        let script = bound(
            "/etc/kubeadm.sh",
            "iptables --dport 6443 -j REDIRECT --to-port 443",
        );
        assert_eq!(
            script.unwrap(),
            b"iptables --dport 443 -j REDIRECT --to-port 6443"
        );
        assert!(bound("/etc/kubeadm.yml", "kind: JoinConfiguration").is_err());
        assert_eq!(
            bound("/etc/other", "bindPort: 443").unwrap(),
            b"bindPort: 443"
        );
    }

    #[test]
    fn the_units_environment_comes_from_its_dropins() {
        let ignition = serde_json::json!({"systemd": {"units": [{
            "name": "kubeadm.service",
            "contents": "[Service]\nExecStart=/etc/kubeadm.sh\n",
        }, {
            "name": "kubeadm.service",
            "dropins": [{"name": "10-flatcar.conf", "contents": "[Service]\nEnvironmentFile=/run/metadata/flatcar\n"}],
        }]}});
        let unit = kubeadm_unit(&ignition).unwrap();
        assert_eq!(unit.command, "/etc/kubeadm.sh");
        assert_eq!(unit.environment_files, ["/run/metadata/flatcar"]);
    }
}
