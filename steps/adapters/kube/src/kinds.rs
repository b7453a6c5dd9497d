//! What a kind is called in paths: the API says so itself.

use std::sync::PoisonError;

use drover_ports::{Gvk, PortError, PortErrorKind};
use serde::Deserialize;

use crate::{
    asked::Asked,
    connection::{Connection, Request},
    paths,
};

/// A kind as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// For example `kubeadmcontrolplanes`.
    pub(crate) plural: String,
    /// True when its objects live in namespaces.
    pub(crate) namespaced: bool,
}

impl Kind {
    /// From its two parts.
    pub(crate) fn new(plural: &str, namespaced: bool) -> Self {
        Self {
            plural: plural.to_owned(),
            namespaced,
        }
    }
}

/// `metav1.APIResourceList`.
#[derive(Deserialize)]
struct ResourceList {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Connection {
    /// How paths name a kind. Asked of the API once for each group and version, and again for a kind that was not there
    /// before: custom resource definitions come and go.
    ///
    /// # Errors
    /// `NotFound` with the code `NoKind` when the API does not serve it: then there can be no such objects.
    pub(crate) async fn kind(&self, gvk: &Gvk, asked: Asked<'_>) -> Result<Kind, PortError> {
        let known = self
            .kinds()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(gvk)
            .cloned();
        if let Some(kind) = known {
            return Ok(kind);
        }
        let asked = asked.reading();
        let request = Request::get(paths::version(gvk, asked)?);
        let list = self
            .ask::<ResourceList>(request, asked, "list of kinds")
            .await;
        let list = match list {
            Ok(list) => list,
            Err(error) if error.is_not_found() => return Err(no_kind(gvk, asked)),
            Err(error) => return Err(error),
        };
        let mut kinds = self.kinds().lock().unwrap_or_else(PoisonError::into_inner);
        for (name, kind) in read(list) {
            kinds.insert(Gvk::new(&gvk.group, &gvk.version, &name), kind);
        }
        kinds.get(gvk).cloned().ok_or_else(|| no_kind(gvk, asked))
    }
}

/// The kinds in a list. Subresources, which have a slash, are no kinds of their own.
fn read(list: ResourceList) -> impl Iterator<Item = (String, Kind)> {
    list.resources
        .into_iter()
        .filter(|resource| !resource.name.contains('/'))
        .map(|resource| {
            let kind = Kind::new(&resource.name, resource.namespaced);
            (resource.kind, kind)
        })
}

fn no_kind(gvk: &Gvk, asked: Asked<'_>) -> PortError {
    let message = format!("the API serves no {} of {}", gvk.kind, gvk.api_version());
    asked
        .error(PortErrorKind::NotFound, message)
        .with_code("NoKind")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_are_no_kinds() {
        let list = serde_json::json!({
            "kind": "APIResourceList",
            "resources": [
                {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": []},
                {"name": "pods/eviction", "singularName": "", "namespaced": true, "kind": "Eviction", "verbs": []},
                {"name": "nodes", "singularName": "node", "namespaced": false, "kind": "Node", "verbs": []},
            ],
        });
        let kinds: Vec<_> = read(serde_json::from_value(list).unwrap()).collect();
        let expected = [
            ("Pod".to_owned(), Kind::new("pods", true)),
            ("Node".to_owned(), Kind::new("nodes", false)),
        ];
        assert_eq!(kinds, expected);
    }
}
