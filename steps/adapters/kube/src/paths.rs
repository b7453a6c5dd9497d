//! Paths of the API. Every name that goes into one is checked, so that none can lead elsewhere.

use std::collections::BTreeMap;

use drover_ports::{Gvk, PortError};

use crate::{asked::Asked, kinds::Kind};

/// Whose name stands in the managed fields of what we write.
pub(crate) const MANAGER: &str = "fieldManager=drover";

/// The root of a group and version.
///
/// # Errors
/// `Invalid`.
pub(crate) fn version(gvk: &Gvk, asked: Asked<'_>) -> Result<String, PortError> {
    let version = name(&gvk.version, "version", asked)?;
    if gvk.group.is_empty() {
        return Ok(format!("/api/{version}"));
    }
    Ok(format!(
        "/apis/{}/{version}",
        name(&gvk.group, "group", asked)?
    ))
}

/// All objects of a kind; of all namespaces when `namespace` is empty.
///
/// # Errors
/// `Invalid`.
pub(crate) fn collection(
    gvk: &Gvk,
    kind: &Kind,
    namespace: &str,
    asked: Asked<'_>,
) -> Result<String, PortError> {
    let root = version(gvk, asked)?;
    let plural = &kind.plural;
    if namespace.is_empty() {
        return Ok(format!("{root}/{plural}"));
    }
    if !kind.namespaced {
        let message = format!("{} has no namespace, but {namespace} was given", gvk.kind);
        return Err(asked.invalid(message));
    }
    let namespace = name(namespace, "namespace", asked)?;
    Ok(format!("{root}/namespaces/{namespace}/{plural}"))
}

/// One object.
///
/// # Errors
/// `Invalid`, also when a kind that has namespaces comes without one.
pub(crate) fn object(
    gvk: &Gvk,
    kind: &Kind,
    namespace: &str,
    object: &str,
    asked: Asked<'_>,
) -> Result<String, PortError> {
    let collection = place(gvk, kind, namespace, asked)?;
    Ok(format!("{collection}/{}", name(object, "name", asked)?))
}

/// Where objects of a kind are created.
///
/// # Errors
/// As [`object`].
pub(crate) fn place(
    gvk: &Gvk,
    kind: &Kind,
    namespace: &str,
    asked: Asked<'_>,
) -> Result<String, PortError> {
    if kind.namespaced && namespace.is_empty() {
        return Err(asked.invalid(format!("a {} needs a namespace", gvk.kind)));
    }
    collection(gvk, kind, namespace, asked)
}

/// A label selector for a query: `a=b,c=d`.
///
/// # Errors
/// `Invalid`.
pub(crate) fn selector(
    labels: &BTreeMap<String, String>,
    asked: Asked<'_>,
) -> Result<String, PortError> {
    let mut terms = Vec::with_capacity(labels.len());
    for (key, value) in labels {
        let is_key = key.bytes().all(|byte| is_plain(byte) || byte == b'/');
        if key.is_empty() || !is_key || !value.bytes().all(is_plain) {
            return Err(asked.invalid(format!("{key}={value} is no label")));
        }
        terms.push(format!("{key}={value}"));
    }
    Ok(terms.join(","))
}

/// A segment of a path. Names of most kinds are DNS names; those of RBAC kinds also have colons.
///
/// # Errors
/// `Invalid`.
pub(crate) fn name<'n>(name: &'n str, what: &str, asked: Asked<'_>) -> Result<&'n str, PortError> {
    let plain = name.bytes().all(|byte| is_plain(byte) || byte == b':');
    if name.is_empty() || !plain || name == "." || name == ".." {
        return Err(asked.invalid(format!("{name:?} is no {what}")));
    }
    Ok(name)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use drover_ports::PortErrorKind;

    use super::*;

    const ASKED: Asked<'_> = Asked {
        action: "workload:get:Node",
        mutates: false,
    };

    fn node() -> (Gvk, Kind) {
        (Gvk::new("", "v1", "Node"), Kind::new("nodes", false))
    }

    fn deployment() -> (Gvk, Kind) {
        (
            Gvk::new("apps", "v1", "Deployment"),
            Kind::new("deployments", true),
        )
    }

    #[test]
    fn paths_of_both_scopes() {
        let (gvk, kind) = node();
        assert_eq!(
            object(&gvk, &kind, "", "ip-10-0-0-1", ASKED).unwrap(),
            "/api/v1/nodes/ip-10-0-0-1"
        );
        let (gvk, kind) = deployment();
        assert_eq!(
            object(&gvk, &kind, "kube-system", "coredns", ASKED).unwrap(),
            "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
        );
        assert_eq!(
            collection(&gvk, &kind, "", ASKED).unwrap(),
            "/apis/apps/v1/deployments"
        );
    }

    #[test]
    fn scopes_are_not_mixed_up() {
        let (gvk, kind) = node();
        let error = object(&gvk, &kind, "default", "n", ASKED).unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid);
        let (gvk, kind) = deployment();
        object(&gvk, &kind, "", "coredns", ASKED).unwrap_err();
    }

    #[test]
    fn no_name_leads_elsewhere() {
        let (gvk, kind) = node();
        for name in ["", "..", "a/b", "a?b", "a%2fb", "a b", "ä", "a#b", "a&b"] {
            let error = object(&gvk, &kind, "", name, ASKED).unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Invalid, "{name}");
        }
        object(&gvk, &kind, "", "system:node", ASKED).unwrap();
    }

    #[test]
    fn selectors() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let two = labels(&[("giantswarm.io/cluster", "c0001"), ("app", "")]);
        assert_eq!(
            selector(&two, ASKED).unwrap(),
            "app=,giantswarm.io/cluster=c0001"
        );
        selector(&labels(&[("a", "b,c=d")]), ASKED).unwrap_err();
        selector(&labels(&[("a&limit", "1")]), ASKED).unwrap_err();
    }
}
