//! Each verb of the port as one request, or one for each page.

use std::collections::BTreeMap;

use drover_ports::{Gvk, KubeCall, KubeReply, ObjectRef, PortError};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    asked::Asked,
    connection::{Connection, Request},
    paths, pods, secrets,
    secrets::WithoutData,
    tokens,
};

/// Objects a page: what `kubectl` asks for.
pub(crate) const PAGE: usize = 500;

/// Passes one call. Not cancel-safe: a dropped mutation may or may not have happened.
///
/// # Errors
/// As the table in [`error`](crate::error).
pub(crate) async fn pass(
    to: &Connection,
    call: KubeCall,
    asked: Asked<'_>,
) -> Result<KubeReply, PortError> {
    match call {
        KubeCall::Get { object } => get(to, &object, asked).await,
        KubeCall::List {
            gvk,
            namespace,
            labels,
        } => {
            let objects = list(to, &gvk, &namespace, &labels, asked).await?;
            Ok(KubeReply::Objects { objects })
        }
        KubeCall::Apply { object } => apply(to, object, asked).await,
        KubeCall::Create { object } => create(to, object, asked).await,
        KubeCall::MergePatch {
            object,
            patch,
            resource_version,
        } => merge_patch(to, &object, patch, resource_version, asked).await,
        KubeCall::Delete { object, uid } => delete(to, &object, uid, asked).await,
        KubeCall::PodsOn { node } => {
            let objects = pods::on(to, &node, asked).await?;
            Ok(KubeReply::Objects { objects })
        }
        KubeCall::Evict {
            namespace,
            pod,
            uid,
        } => {
            pods::evict(to, &namespace, &pod, &uid, asked).await?;
            Ok(KubeReply::Done)
        }
        KubeCall::GetSecret { namespace, name } => {
            let secret = secrets::get(to, &namespace, &name, asked).await?;
            Ok(KubeReply::Secret(secret))
        }
        KubeCall::ApplySecret { secret } => {
            secrets::apply(to, &secret, asked).await?;
            Ok(KubeReply::Done)
        }
        KubeCall::RequestToken {
            namespace,
            service_account,
        } => {
            let token = tokens::request(to, &namespace, &service_account, asked).await?;
            Ok(KubeReply::Token { token })
        }
        KubeCall::ReviewToken { token } => {
            let authenticated = tokens::review(to, &token, asked).await?;
            Ok(KubeReply::Review { authenticated })
        }
    }
}

async fn get(
    to: &Connection,
    object: &ObjectRef,
    asked: Asked<'_>,
) -> Result<KubeReply, PortError> {
    let path = object_path(to, object, asked).await?;
    ask_object(to, &object.gvk, Request::get(path), asked).await
}

/// All objects of a kind with these labels, page by page, ordered by namespace and name.
///
/// # Errors
/// As [`pass`]; `Unavailable` with the code `Expired` when it took so long that the first page is out of date.
pub(crate) async fn list(
    to: &Connection,
    gvk: &Gvk,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    asked: Asked<'_>,
) -> Result<Vec<Value>, PortError> {
    let kind = to.kind(gvk, asked).await?;
    let collection = paths::collection(gvk, &kind, namespace, asked)?;
    let selector = match labels.is_empty() {
        true => String::new(),
        false => format!("&labelSelector={}", paths::selector(labels, asked)?),
    };
    pages(
        to,
        gvk,
        &format!("{collection}?limit={PAGE}{selector}"),
        asked,
    )
    .await
}

/// All objects of a list, page by page, ordered by namespace and name. `first` is the path of the first page.
pub(crate) async fn pages(
    to: &Connection,
    gvk: &Gvk,
    first: &str,
    asked: Asked<'_>,
) -> Result<Vec<Value>, PortError> {
    let mut objects = Vec::new();
    let mut path = first.to_owned();
    loop {
        let page: Page = if is_secret(gvk) {
            let page: Page<WithoutData> = to.ask(Request::get(path), asked, "list").await?;
            page.map(WithoutData::into_value)
        } else {
            to.ask(Request::get(path), asked, "list").await?
        };
        objects.extend(page.items);
        // The API's token is base64 for URLs.
        match page.metadata.next.as_str() {
            "" => break,
            next => path = format!("{first}&continue={next}"),
        }
    }
    let mut objects: Vec<Value> = objects
        .into_iter()
        .map(|object| complete(object, gvk))
        .collect();
    objects.sort_by_cached_key(|object| {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
        (text("namespace"), text("name"))
    });
    Ok(objects)
}

async fn apply(to: &Connection, object: Value, asked: Asked<'_>) -> Result<KubeReply, PortError> {
    let own = reference(&object, asked)?;
    let path = object_path(to, &own, asked).await?;
    let request = Request {
        method: Method::PATCH,
        path: format!("{path}?{}", paths::MANAGER),
        content_type: "application/apply-patch+yaml",
        body: json_body(&object),
    };
    ask_object(to, &own.gvk, request, asked).await
}

async fn create(to: &Connection, object: Value, asked: Asked<'_>) -> Result<KubeReply, PortError> {
    let own = reference(&object, asked)?;
    let kind = to.kind(&own.gvk, asked).await?;
    let path = paths::place(&own.gvk, &kind, &own.namespace, asked)?;
    let request = Request {
        method: Method::POST,
        path: format!("{path}?{}", paths::MANAGER),
        content_type: "application/json",
        body: json_body(&object),
    };
    ask_object(to, &own.gvk, request, asked).await
}

async fn merge_patch(
    to: &Connection,
    object: &ObjectRef,
    patch: Value,
    resource_version: Option<String>,
    asked: Asked<'_>,
) -> Result<KubeReply, PortError> {
    let patch = match resource_version {
        Some(version) => bound(patch, version)
            .ok_or_else(|| asked.invalid("the patch is no JSON object with metadata"))?,
        None => patch,
    };
    let path = object_path(to, object, asked).await?;
    let request = Request {
        method: Method::PATCH,
        path: format!("{path}?{}", paths::MANAGER),
        content_type: "application/merge-patch+json",
        body: json_body(&patch),
    };
    ask_object(to, &object.gvk, request, asked).await
}

async fn delete(
    to: &Connection,
    object: &ObjectRef,
    uid: Option<String>,
    asked: Asked<'_>,
) -> Result<KubeReply, PortError> {
    let mut options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
    });
    if let Some(uid) = uid {
        options["preconditions"] = json!({ "uid": uid });
    }
    let request = Request {
        method: Method::DELETE,
        path: object_path(to, object, asked).await?,
        content_type: "application/json",
        body: json_body(&options),
    };
    // Answered with a Status or with the object, by kind: nobody wants either.
    to.send(request, asked).await?.success(asked)?;
    Ok(KubeReply::Done)
}

async fn object_path(
    to: &Connection,
    object: &ObjectRef,
    asked: Asked<'_>,
) -> Result<String, PortError> {
    let ObjectRef {
        gvk,
        namespace,
        name,
    } = object;
    let kind = to.kind(gvk, asked).await?;
    paths::object(gvk, &kind, namespace, name, asked)
}

/// Sends a request that is answered with an object of a kind.
async fn ask_object(
    to: &Connection,
    gvk: &Gvk,
    request: Request,
    asked: Asked<'_>,
) -> Result<KubeReply, PortError> {
    let object = if is_secret(gvk) {
        let object: WithoutData = to.ask(request, asked, "object").await?;
        object.into_value()
    } else {
        to.ask(request, asked, "object").await?
    };
    let object = complete(object, gvk);
    Ok(KubeReply::Object { object })
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<T = Value> {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(rename = "continue", default)]
    next: String,
}

impl<T> Page<T> {
    fn map(self, each: impl Fn(T) -> Value) -> Page {
        Page {
            metadata: self.metadata,
            items: self.items.into_iter().map(each).collect(),
        }
    }
}

/// An object as steps see it. Items of lists come without kind; and who manages which field is long, nobody's business,
/// and refused when it is applied again.
fn complete(mut object: Value, gvk: &Gvk) -> Value {
    object["apiVersion"] = gvk.api_version().into();
    object["kind"] = gvk.kind.clone().into();
    let metadata = object.get_mut("metadata");
    if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

fn is_secret(gvk: &Gvk) -> bool {
    gvk.group.is_empty() && gvk.kind == "Secret"
}

/// What an object says it is.
fn reference(object: &Value, asked: Asked<'_>) -> Result<ObjectRef, PortError> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    if api_version.is_empty() || kind.is_empty() {
        return Err(asked.invalid("the object has no apiVersion or no kind"));
    }
    let gvk = Gvk::of(&api_version, &kind);
    let metadata = &object["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    Ok(ObjectRef::new(&gvk, &namespace, &name))
}

/// A patch that holds for one version only. `None` when it is no object.
fn bound(mut patch: Value, resource_version: String) -> Option<Value> {
    let metadata = patch
        .as_object_mut()?
        .entry("metadata")
        .or_insert_with(|| json!({}));
    metadata
        .as_object_mut()?
        .insert("resourceVersion".to_owned(), resource_version.into());
    Some(patch)
}

pub(crate) fn json_body(value: &Value) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(value).expect("a JSON value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_bound_to_a_version() {
        let patch = json!({"spec": {"paused": true}});
        let expected = json!({"spec": {"paused": true}, "metadata": {"resourceVersion": "7"}});
        assert_eq!(bound(patch, "7".to_owned()), Some(expected));
        let patch = json!({"metadata": {"annotations": {"a": null}}});
        let expected = json!({"metadata": {"annotations": {"a": null}, "resourceVersion": "7"}});
        assert_eq!(bound(patch, "7".to_owned()), Some(expected));
        assert_eq!(bound(json!([]), "7".to_owned()), None);
        assert_eq!(bound(json!({"metadata": null}), "7".to_owned()), None);
    }

    #[test]
    fn items_of_lists_learn_their_kind() {
        let gvk = Gvk::new("apps", "v1", "Deployment");
        let item = json!({"metadata": {"name": "a", "managedFields": [{"manager": "b"}]}});
        let object = complete(item, &gvk);
        assert_eq!(object["apiVersion"], "apps/v1");
        assert_eq!(object["kind"], "Deployment");
        assert_eq!(object["metadata"], json!({"name": "a"}));
    }

    #[test]
    fn pages_say_where_the_next_one_is() {
        let page = json!({"kind": "NodeList", "metadata": {"resourceVersion": "5", "continue": "abc"}, "items": [{}]});
        let page: Page = serde_json::from_value(page).unwrap();
        assert_eq!(page.metadata.next, "abc");
        let last: Page = serde_json::from_value(json!({"metadata": {}, "items": []})).unwrap();
        assert_eq!(last.metadata.next, "");
    }

    #[test]
    fn an_object_must_say_what_it_is() {
        let asked = Asked::read("workload:apply:?");
        reference(&json!({"kind": "Node"}), asked).unwrap_err();
        let object =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": "b"}});
        let expected = ObjectRef::new(&Gvk::new("", "v1", "Pod"), "a", "b");
        assert_eq!(reference(&object, asked).unwrap(), expected);
    }
}
