//! What of a control plane's `kubeadmConfigSpec` was for the migration only, and where its service-account issuers stand. The
//! other side of what [`render`](super::render) writes: both change what stands there and know nothing else of it.

use serde_json::{Map, Value, json};

use super::control_plane::API_SERVER_PATCH;
use crate::names;

/// Flag of the API server, as its patch writes it.
const ISSUER: &str = "--service-account-issuer=";
/// The same, as `extraArgs` name it.
const ISSUER_ARGUMENT: &str = "service-account-issuer";
/// Where a migration keeps its scripts on the node.
const SCRIPTS: &str = "/migration/";
/// etcd does not look at names in its peers' certificates: those of vintage members did not have them.
const PEERS_WITHOUT_NAMES: &str = "experimental-peer-skip-client-san-verification";

/// A merge patch of `kubeadmConfigSpec` that takes away what only the migration needed: files of its Secret, commands that
/// run its scripts or sleep, and etcd's indulgence with vintage peers. `None` when there is nothing of it.
///
/// What stays is for good: redirects of port 6443 and the node's own name, without which no node comes up; the vintage key that
/// verifies old tokens, and the patch that names it and the issuers.
pub fn without_migration(spec: &Value, cluster: &str) -> Option<Value> {
    let secret = names::migration_files_secret(cluster);
    let mut patch = Map::new();
    let mut keep = |list: &str, stays: &dyn Fn(&Value) -> bool| {
        let all = spec[list].as_array().map_or(&[][..], Vec::as_slice);
        let kept: Vec<&Value> = all.iter().filter(|item| stays(item)).collect();
        if kept.len() < all.len() {
            patch.insert(list.to_owned(), json!(kept));
        }
    };
    keep("files", &|file| {
        file["contentFrom"]["secret"]["name"] != secret.as_str()
    });
    for commands in ["preKubeadmCommands", "postKubeadmCommands"] {
        keep(commands, &|command| {
            !command.as_str().is_some_and(is_of_migration)
        });
    }
    if !spec["clusterConfiguration"]["etcd"]["local"]["extraArgs"][PEERS_WITHOUT_NAMES].is_null() {
        let etcd = json!({"local": {"extraArgs": {PEERS_WITHOUT_NAMES: null}}});
        patch.insert("clusterConfiguration".to_owned(), json!({ "etcd": etcd }));
    }
    (!patch.is_empty()).then(|| Value::Object(patch))
}

fn is_of_migration(command: &str) -> bool {
    command.contains(SCRIPTS) || command.trim_start().starts_with("sleep ")
}

/// The service-account issuers, the one that signs first; `None` when they do not stand where the migration puts them.
pub fn issuers(spec: &Value) -> Option<Vec<String>> {
    let arguments = &spec["clusterConfiguration"]["apiServer"]["extraArgs"];
    let first = arguments[ISSUER_ARGUMENT].as_str()?.to_owned();
    let (_, operations) = api_server_patch(spec)?;
    let others = operations.iter().filter_map(issuer_of).map(str::to_owned);
    Some([first].into_iter().chain(others).collect())
}

/// A merge patch of `kubeadmConfigSpec` with these issuers in this order. `None` when they do not stand where the migration
/// puts them, or there is none.
pub fn with_issuers(spec: &Value, issuers: &[String]) -> Option<Value> {
    let (first, others) = issuers.split_first()?;
    let (place, mut operations) = api_server_patch(spec)?;
    operations.retain(|operation| issuer_of(operation).is_none());
    operations.extend(others.iter().map(|issuer| argument(&issuer_flag(issuer))));
    let mut files = spec["files"].clone();
    files[place]["content"] = json!(Value::from(operations).to_string());
    Some(json!({
        "clusterConfiguration": {"apiServer": {"extraArgs": {ISSUER_ARGUMENT: first}}},
        "files": files,
    }))
}

/// An operation that gives the API server one argument more: a map holds a flag once, a command as often as it likes.
pub(super) fn argument(flag: &str) -> Value {
    json!({"op": "add", "path": "/spec/containers/0/command/-", "value": flag})
}

/// The flag for one more issuer.
pub(super) fn issuer_flag(issuer: &str) -> String {
    format!("{ISSUER}{issuer}")
}

fn issuer_of(operation: &Value) -> Option<&str> {
    operation["value"].as_str()?.strip_prefix(ISSUER)
}

/// Which of the files is the API server's patch, and its operations.
fn api_server_patch(spec: &Value) -> Option<(usize, Vec<Value>)> {
    let files = spec["files"].as_array()?;
    let place = files
        .iter()
        .position(|file| file["path"] == API_SERVER_PATCH)?;
    let operations = serde_json::from_str(files[place]["content"].as_str()?).ok()?;
    Some((place, operations))
}
