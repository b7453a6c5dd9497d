//! Finds key material where none may be.
//!
//! Two nets. A PEM private key is recognised by its first line, whatever way it came. Everything else is recognised
//! because it passed the door as [`SecretBytes`] before: verbatim, line by line, or as base64. What a step computes from
//! a secret (a digest, a cut) is not recognised; neither are secrets shorter than [`MIN_LEN`], because `admin` and
//! `default` stand in every other text.

use std::collections::BTreeMap;

use drover_ports::{
    CaReply, Call, KubeCall, KubeReply, Reply, SecretBytes, SecretObject, StoreCall, StoreReply,
};
use serde_json::Value;

/// Shorter byte strings are not looked for.
const MIN_LEN: usize = 12;
/// Lines of a longer secret that are looked for one by one: shorter ones are headings and indents.
const MIN_LINE_LEN: usize = 32;
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// What passed the door as a secret so far.
#[derive(Clone, Default)]
pub(crate) struct Tripwire {
    /// From the text to look for to the action that it passed with.
    needles: BTreeMap<String, String>,
}

impl Tripwire {
    /// Remembers the secrets of a call.
    pub(crate) fn learn_call(&mut self, call: &Call) {
        let action = call.action();
        for secret in in_call(call) {
            self.learn(secret, &action);
        }
    }

    /// Remembers the secrets of a reply.
    pub(crate) fn learn_reply(&mut self, reply: &Reply, action: &str) {
        for secret in in_reply(reply) {
            self.learn(secret, action);
        }
    }

    fn learn(&mut self, secret: &SecretBytes, action: &str) {
        let bytes = secret.expose();
        if bytes.len() < MIN_LEN {
            return;
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            if is_public(text) {
                return;
            }
            self.insert(text.trim(), action);
            for line in text.lines().map(str::trim) {
                let body = !line.starts_with("-----") && line.len() >= MIN_LINE_LEN;
                if body && text.contains(PRIVATE_KEY) {
                    self.insert(line, action);
                }
            }
        }
        // The one way out that the type offers is base64; nothing here needs an encoder of its own.
        if let Ok(Value::String(base64)) = serde_json::to_value(secret) {
            let unpadded = base64.trim_end_matches('=');
            self.insert(unpadded, action);
            self.insert(&unpadded.replace('+', "-").replace('/', "_"), action);
        }
    }

    fn insert(&mut self, needle: &str, action: &str) {
        if needle.len() >= MIN_LEN {
            self.needles.insert(needle.to_owned(), action.to_owned());
        }
    }

    /// What is wrong with a text, without repeating the secret.
    pub(crate) fn check_text(&self, text: &str) -> Option<String> {
        if text.contains(PRIVATE_KEY) {
            return Some("contains a PEM private key".to_owned());
        }
        self.needles
            .iter()
            .find(|(needle, _)| text.contains(needle.as_str()))
            .map(|(_, action)| format!("contains bytes that {action} carried as a secret"))
    }

    /// As [`Tripwire::check_text`], for every string and key of a JSON value; with the JSON pointer.
    pub(crate) fn check_json(&self, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => self.check_text(text),
            Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                let what = self.check_json(item)?;
                Some(format!("/{index}{}{what}", separator(&what)))
            }),
            Value::Object(fields) => fields.iter().find_map(|(key, item)| {
                if let Some(what) = self.check_text(key) {
                    return Some(format!("a key {what}"));
                }
                let what = self.check_json(item)?;
                Some(format!("/{key}{}{what}", separator(&what)))
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }
}

fn separator(rest: &str) -> &'static str {
    if rest.starts_with('/') { "" } else { " " }
}

/// Certificates and public keys travel in Secrets beside their keys, and are no secret.
fn is_public(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN ") && !text.contains(PRIVATE_KEY)
}

// The matches below name every variant of the calls and replies that could carry a secret, so that a new one does not
// slip past the tripwire: it does not compile until somebody has decided.

fn in_call(call: &Call) -> Vec<&SecretBytes> {
    match call {
        Call::Kube { call, .. } => match call {
            KubeCall::ApplySecret { secret } => in_object(secret),
            KubeCall::ReviewToken { token } => vec![token],
            KubeCall::Get { .. }
            | KubeCall::List { .. }
            | KubeCall::Apply { .. }
            | KubeCall::Create { .. }
            | KubeCall::MergePatch { .. }
            | KubeCall::Delete { .. }
            | KubeCall::PodsOn { .. }
            | KubeCall::Evict { .. }
            | KubeCall::GetSecret { .. }
            | KubeCall::RequestToken { .. } => Vec::new(),
        },
        Call::RegionStore { call } => match call {
            StoreCall::Put { data, .. } => vec![data],
            StoreCall::Head { .. } | StoreCall::Get { .. } => Vec::new(),
        },
        Call::Cloud { .. } | Call::Etcd { .. } | Call::Ca { .. } | Call::Probe { .. } => Vec::new(),
    }
}

fn in_reply(reply: &Reply) -> Vec<&SecretBytes> {
    match reply {
        Reply::Kube(reply) => match reply {
            KubeReply::Secret(secret) => in_object(secret),
            KubeReply::Token { token } => vec![token],
            KubeReply::Object { .. }
            | KubeReply::Objects { .. }
            | KubeReply::Review { .. }
            | KubeReply::Done => Vec::new(),
        },
        Reply::Ca(reply) => match reply {
            CaReply::Bundle(bundle) => vec![&bundle.private_key_pem],
            CaReply::Available { .. } => Vec::new(),
        },
        Reply::RegionStore(reply) => match reply {
            StoreReply::Data { data } => vec![data],
            StoreReply::Digest { .. } => Vec::new(),
        },
        Reply::Cloud(_) | Reply::Etcd(_) | Reply::Probe(_) => Vec::new(),
    }
}

fn in_object(secret: &SecretObject) -> Vec<&SecretBytes> {
    secret.data.values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tripwire(secret: &str) -> Tripwire {
        let mut tripwire = Tripwire::default();
        tripwire.learn(&SecretBytes::new(secret.as_bytes().to_vec()), "ca:Fetch");
        tripwire
    }

    #[test]
    fn a_secret_is_found_verbatim_and_as_base64() {
        let tripwire = tripwire("correct horse battery staple!?");
        for text in [
            "x correct horse battery staple!? y",
            "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSE/",
            "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSE_",
        ] {
            let found = tripwire.check_json(&json!({ "a": [1, text] }));
            assert_eq!(
                found.as_deref(),
                Some("/a/1 contains bytes that ca:Fetch carried as a secret")
            );
        }
        assert_eq!(tripwire.check_text("correct horse"), None);
    }

    #[test]
    fn one_line_of_a_private_key_is_found() {
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
        let key = format!("-----BEGIN PRIVATE KEY-----\n{line}\nAAAA\n-----END PRIVATE KEY-----\n");
        assert!(tripwire(&key).check_text(&format!("<{line}>")).is_some());
        assert!(Tripwire::default().check_text(&key).is_some());
    }

    #[test]
    fn certificates_and_short_words_are_no_secrets() {
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
        assert_eq!(tripwire(certificate).check_text(certificate), None);
        assert_eq!(tripwire("admin").check_text("admin"), None);
    }
}
