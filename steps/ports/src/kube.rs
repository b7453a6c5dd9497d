//! Kubernetes APIs: generic verbs on (group, version, kind) and JSON. Secrets have verbs of their own, so that their
//! data never stands in a plain JSON value.

use std::collections::BTreeMap;

use drover_step_api::Permit;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Call, PortError, PortErrorKind, Reply, SecretBytes,
    ports::{Line, mismatch},
};

/// Which Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum Cluster {
    /// The vintage management cluster.
    VintageMc,
    /// The Cluster API management cluster.
    CapiMc,
    /// A workload cluster.
    Workload {
        /// Its id.
        cluster: String,
        /// Through which door.
        via: Via,
    },
}

impl Cluster {
    /// As permissions name it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::VintageMc => "vintage-mc",
            Self::CapiMc => "capi-mc",
            Self::Workload { .. } => "workload",
        }
    }
}

/// Through which door of a workload cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "kebab-case")]
pub enum Via {
    /// The vintage name, `api.<id>.k8s.<base>`: what customers use.
    OldName,
    /// The name of the Cluster API load balancer.
    NewName,
    /// One control-plane instance directly, by EC2 instance id.
    Instance {
        /// EC2 instance id.
        id: String,
    },
}

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gvk {
    /// Empty for the core group.
    pub group: String,
    /// For example `v1beta1`.
    pub version: String,
    /// For example `KubeadmControlPlane`.
    pub kind: String,
}

impl Gvk {
    /// From its three parts.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    /// From what stands in an object: `apps/v1`, or `v1` in the core group.
    pub fn of(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(group, version, kind)
    }

    /// `group/version`, or `version` in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its kind.
    pub gvk: Gvk,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// From kind, namespace (empty for cluster-scoped kinds) and name.
    pub fn new(gvk: &Gvk, namespace: &str, name: &str) -> Self {
        Self {
            gvk: gvk.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// A Secret with its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretObject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `type`, for example `cluster.x-k8s.io/secret`.
    pub type_: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Decoded data.
    pub data: BTreeMap<String, SecretBytes>,
}

/// A verb on a Kubernetes API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum KubeCall {
    /// One object. Data of Secrets is left out.
    Get {
        /// Which.
        object: ObjectRef,
    },
    /// Objects by label, ordered by namespace and name. Data of Secrets is left out.
    List {
        /// Their kind.
        gvk: Gvk,
        /// Empty for all namespaces.
        namespace: String,
        /// Labels that must be equal.
        labels: BTreeMap<String, String>,
    },
    /// Server-side apply as field manager `drover`; creates what is missing.
    Apply {
        /// The object, with apiVersion, kind and metadata.
        object: Value,
    },
    /// Creates an object.
    Create {
        /// The object, with apiVersion, kind and metadata.
        object: Value,
    },
    /// JSON merge patch (RFC 7396): `null` removes.
    MergePatch {
        /// Which.
        object: ObjectRef,
        /// The patch.
        patch: Value,
        /// When set, the patch is refused with `Conflict` unless the object still has it.
        resource_version: Option<String>,
    },
    /// Deletes an object, in the background for its dependants.
    Delete {
        /// Which.
        object: ObjectRef,
        /// When set, the deletion is refused with `Conflict` unless the object still has it.
        #[serde(default)]
        uid: Option<String>,
    },
    /// Pods on a node, of all namespaces, ordered by namespace and name.
    PodsOn {
        /// Name of the Node.
        node: String,
    },
    /// Asks for a pod to leave, as far as disruption budgets allow (`pods/eviction`).
    Evict {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// The very pod that was seen; another one of this name is left alone, with `Conflict`.
        uid: String,
    },
    /// A Secret with its data.
    GetSecret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Server-side apply of a Secret as field manager `drover`.
    ApplySecret {
        /// The Secret.
        secret: SecretObject,
    },
    /// A fresh token of a ServiceAccount (`TokenRequest`). Stores nothing.
    RequestToken {
        /// Its namespace.
        namespace: String,
        /// Its name.
        service_account: String,
    },
    /// Whether a token authenticates (`TokenReview`). Stores nothing.
    ReviewToken {
        /// The token.
        token: SecretBytes,
    },
}

impl KubeCall {
    /// `verb:Kind`, as permissions name it.
    pub fn action(&self) -> String {
        let kind_of = |object: &Value| object["kind"].as_str().unwrap_or("?").to_owned();
        match self {
            Self::Get { object } => format!("get:{}", object.gvk.kind),
            Self::List { gvk, .. } => format!("list:{}", gvk.kind),
            Self::Apply { object } => format!("apply:{}", kind_of(object)),
            Self::Create { object } => format!("create:{}", kind_of(object)),
            Self::MergePatch { object, .. } => format!("patch:{}", object.gvk.kind),
            Self::Delete { object, .. } => format!("delete:{}", object.gvk.kind),
            Self::PodsOn { .. } => "list:Pod".to_owned(),
            Self::Evict { .. } => "evict:Pod".to_owned(),
            Self::GetSecret { .. } => "get-data:Secret".to_owned(),
            Self::ApplySecret { .. } => "apply:Secret".to_owned(),
            Self::RequestToken { .. } => "create:TokenRequest".to_owned(),
            Self::ReviewToken { .. } => "create:TokenReview".to_owned(),
        }
    }

    /// True when it changes something.
    pub fn mutates(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::List { .. }
            | Self::PodsOn { .. }
            | Self::GetSecret { .. }
            | Self::RequestToken { .. }
            | Self::ReviewToken { .. } => false,
            Self::Apply { .. }
            | Self::Create { .. }
            | Self::MergePatch { .. }
            | Self::Delete { .. }
            | Self::Evict { .. }
            | Self::ApplySecret { .. } => true,
        }
    }
}

/// The answer to a [`KubeCall`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KubeReply {
    /// One object, as it is after the call.
    Object {
        /// The object.
        object: Value,
    },
    /// To `List` and `PodsOn`.
    Objects {
        /// Ordered by namespace and name.
        objects: Vec<Value>,
    },
    /// To `GetSecret`.
    Secret(SecretObject),
    /// To `RequestToken`.
    Token {
        /// The token.
        token: SecretBytes,
    },
    /// To `ReviewToken`.
    Review {
        /// True when the token authenticates.
        authenticated: bool,
    },
    /// To `Delete`, `Evict` and `ApplySecret`.
    Done,
}

/// Code of an eviction that a PodDisruptionBudget does not allow now: the reason that the API's Status gives.
pub const DISRUPTION_BUDGET: &str = "DisruptionBudget";

/// The port to one Kubernetes API.
#[derive(Clone)]
pub struct Kube {
    line: Line,
    at: Cluster,
}

impl Kube {
    pub(crate) fn new(line: Line, at: Cluster) -> Self {
        Self { line, at }
    }

    fn call(&self, call: KubeCall) -> Call {
        Call::Kube {
            at: self.at.clone(),
            call,
        }
    }

    async fn read(&self, call: KubeCall) -> Result<KubeReply, PortError> {
        let action = call.action();
        match self.line.read(self.call(call)).await? {
            Reply::Kube(reply) => Ok(reply),
            _ => Err(mismatch(&action)),
        }
    }

    async fn write(&self, permit: Permit, call: KubeCall) -> Result<KubeReply, PortError> {
        let action = call.action();
        match self.line.write(permit, self.call(call)).await? {
            Reply::Kube(reply) => Ok(reply),
            _ => Err(mismatch(&action)),
        }
    }

    async fn write_object(&self, permit: Permit, call: KubeCall) -> Result<Value, PortError> {
        let action = call.action();
        match self.write(permit, call).await? {
            KubeReply::Object { object } => Ok(object),
            _ => Err(mismatch(&action)),
        }
    }

    /// One object. Data of Secrets is left out.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn get(&self, object: &ObjectRef) -> Result<Value, PortError> {
        match self
            .read(KubeCall::Get {
                object: object.clone(),
            })
            .await?
        {
            KubeReply::Object { object } => Ok(object),
            _ => Err(mismatch("get")),
        }
    }

    /// As [`Kube::get`], with `None` for an object that is not there.
    ///
    /// # Errors
    /// As [`Kube::get`], except `NotFound`.
    pub async fn find(&self, object: &ObjectRef) -> Result<Option<Value>, PortError> {
        match self.get(object).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Objects by label, ordered by namespace and name; `namespace` empty for all. Data of Secrets is left out.
    ///
    /// # Errors
    /// `Denied`, `Unreachable` and the like.
    pub async fn list(
        &self,
        gvk: &Gvk,
        namespace: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Value>, PortError> {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let call = KubeCall::List {
            gvk: gvk.clone(),
            namespace: namespace.to_owned(),
            labels,
        };
        self.objects(call).await
    }

    async fn objects(&self, call: KubeCall) -> Result<Vec<Value>, PortError> {
        match self.read(call).await? {
            KubeReply::Objects { objects } => Ok(objects),
            _ => Err(mismatch("list")),
        }
    }

    /// Pods on a node, of all namespaces, ordered by namespace and name.
    ///
    /// # Errors
    /// As [`Kube::list`].
    pub async fn pods_on(&self, node: &str) -> Result<Vec<Value>, PortError> {
        let node = node.to_owned();
        self.objects(KubeCall::PodsOn { node }).await
    }

    /// Asks for the very pod that was `seen` to leave. Its node lets it end within its own grace; one that is gone, or has
    /// been made anew under its name, is success.
    ///
    /// # Errors
    /// `Conflict` with the code [`DISRUPTION_BUDGET`] while a budget does not allow it: nothing happened, ask again later.
    pub async fn evict(&self, permit: Permit, seen: &Value) -> Result<(), PortError> {
        let text = |field: &str| {
            seen["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let call = KubeCall::Evict {
            namespace: text("namespace"),
            pod: text("name"),
            uid: text("uid"),
        };
        match self.write(permit, call).await {
            Ok(KubeReply::Done) => Ok(()),
            Ok(_) => Err(mismatch("evict")),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error)
                if error.kind == PortErrorKind::Conflict && error.code != DISRUPTION_BUDGET =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Server-side apply as field manager `drover`; creates what is missing; answers the object as it is then.
    ///
    /// # Errors
    /// `Conflict` when another manager owns a field; `Invalid` when the API refuses the object.
    pub async fn apply(&self, permit: Permit, object: Value) -> Result<Value, PortError> {
        self.write_object(permit, KubeCall::Apply { object }).await
    }

    /// Creates an object; answers it as it is then.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub async fn create(&self, permit: Permit, object: Value) -> Result<Value, PortError> {
        self.write_object(permit, KubeCall::Create { object }).await
    }

    /// JSON merge patch (RFC 7396): `null` removes. Answers the object as it is then.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when `resource_version` is set and no longer current.
    pub async fn merge_patch(
        &self,
        permit: Permit,
        object: &ObjectRef,
        patch: Value,
        resource_version: Option<&str>,
    ) -> Result<Value, PortError> {
        let call = KubeCall::MergePatch {
            object: object.clone(),
            patch,
            resource_version: resource_version.map(str::to_owned),
        };
        self.write_object(permit, call).await
    }

    /// Deletes an object; one that is not there is success.
    ///
    /// # Errors
    /// `Denied` and the like.
    pub async fn delete(&self, permit: Permit, object: &ObjectRef) -> Result<(), PortError> {
        self.remove(permit, object, None).await
    }

    /// As [`Kube::delete`], but of nothing except the very object that was `seen`: a request that arrives late does not
    /// hit one that has been made since. When there is another one, that is success.
    ///
    /// # Errors
    /// As [`Kube::delete`].
    pub async fn delete_seen(
        &self,
        permit: Permit,
        object: &ObjectRef,
        seen: &Value,
    ) -> Result<(), PortError> {
        let uid = seen["metadata"]["uid"].as_str().map(str::to_owned);
        match self.remove(permit, object, uid).await {
            Err(error) if error.kind == PortErrorKind::Conflict => Ok(()),
            done => done,
        }
    }

    async fn remove(
        &self,
        permit: Permit,
        object: &ObjectRef,
        uid: Option<String>,
    ) -> Result<(), PortError> {
        let object = object.clone();
        match self.write(permit, KubeCall::Delete { object, uid }).await {
            Ok(KubeReply::Done) => Ok(()),
            Ok(_) => Err(mismatch("delete")),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A Secret with its data.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn get_secret(&self, namespace: &str, name: &str) -> Result<SecretObject, PortError> {
        let call = KubeCall::GetSecret {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match self.read(call).await? {
            KubeReply::Secret(secret) => Ok(secret),
            _ => Err(mismatch("get-data:Secret")),
        }
    }

    /// As [`Kube::get_secret`], with `None` for a Secret that is not there.
    ///
    /// # Errors
    /// As [`Kube::get_secret`], except `NotFound`.
    pub async fn find_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<SecretObject>, PortError> {
        match self.get_secret(namespace, name).await {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Server-side apply of a Secret as field manager `drover`.
    ///
    /// # Errors
    /// `Conflict` when another manager owns its data.
    pub async fn apply_secret(
        &self,
        permit: Permit,
        secret: SecretObject,
    ) -> Result<(), PortError> {
        match self.write(permit, KubeCall::ApplySecret { secret }).await? {
            KubeReply::Done => Ok(()),
            _ => Err(mismatch("apply:Secret")),
        }
    }

    /// A fresh token of a ServiceAccount. Stores nothing.
    ///
    /// # Errors
    /// `NotFound` when there is no such account; `Unreachable` when the API does not answer.
    pub async fn request_token(
        &self,
        namespace: &str,
        service_account: &str,
    ) -> Result<SecretBytes, PortError> {
        let call = KubeCall::RequestToken {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        };
        match self.read(call).await? {
            KubeReply::Token { token } => Ok(token),
            _ => Err(mismatch("create:TokenRequest")),
        }
    }

    /// Whether a token authenticates. Stores nothing.
    ///
    /// # Errors
    /// `Unreachable` when the API does not answer.
    pub async fn review_token(&self, token: SecretBytes) -> Result<bool, PortError> {
        match self.read(KubeCall::ReviewToken { token }).await? {
            KubeReply::Review { authenticated } => Ok(authenticated),
            _ => Err(mismatch("create:TokenReview")),
        }
    }
}
