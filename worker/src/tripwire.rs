//! The last look at what leaves the worker: outputs, checkpoints, progress, errors. Steps pass references to secrets,
//! never secrets; this refuses what looks like one all the same.

use std::sync::LazyLock;

use regex::RegexSet;
use serde_json::Value;

/// What key material looks like, and what each is called.
const SHAPES: [(&str, &str); 6] = [
    (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY", "a PEM private key"),
    // The same, base64-encoded as in a Secret's data: "-----BEGIN " at each of the three alignments.
    (
        r"LS0tLS1CRUdJTi|0tLS0tQkVHSU4g|tLS0tLUJFR0lOI",
        "a base64-encoded PEM block",
    ),
    (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", "an AWS access key id"),
    (r"(?i)aws_secret_access_key", "an AWS secret key"),
    (
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        "a signed token",
    ),
    (r"\bhvs\.[A-Za-z0-9_-]{20,}", "a Vault token"),
];

static SET: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new(SHAPES.iter().map(|(shape, _)| shape))
        .expect("the shapes are regular expressions")
});

/// What a text seems to hold, when it seems to hold a secret.
#[must_use]
pub fn find(text: &str) -> Option<&'static str> {
    SET.matches(text).iter().next().map(|index| SHAPES[index].1)
}

/// What a JSON value seems to hold, when it seems to hold a secret anywhere.
#[must_use]
pub fn find_in(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
        Value::String(text) => find(text),
        Value::Array(items) => items.iter().find_map(find_in),
        Value::Object(entries) => entries
            .iter()
            .find_map(|(key, value)| find(key).or_else(|| find_in(value))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Put together at run time: no secret, and nothing that looks like one, stands in the source.
    fn pem() -> String {
        format!("-----BEGIN EC {} KEY-----\nMHcCAQEE\n", "PRIVATE")
    }

    #[test]
    fn keys_are_found_wherever_they_hide() {
        for (value, found) in [
            (json!({"a": [{"b": pem()}]}), true),
            (json!({pem(): 1}), true),
            (json!(format!("key {}{}", "AKIA", "ABCDEFGHIJKLMNOP")), true),
            (
                json!({"fingerprint": "a3f1".repeat(16), "certificate": "-----BEGIN CERTIFICATE-----"}),
                false,
            ),
            (
                json!({"arn": "arn:aws:iam::111122223333:role/x", "n": 3}),
                false,
            ),
        ] {
            assert_eq!(find_in(&value).is_some(), found, "{value}");
        }
    }

    #[test]
    fn a_base64_key_is_found_at_every_alignment() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let encode = |bytes: &[u8]| -> String {
            bytes
                .chunks(3)
                .flat_map(|chunk| {
                    let word = chunk.iter().enumerate().fold(0_u32, |word, (i, byte)| {
                        word | u32::from(*byte) << (16 - 8 * i)
                    });
                    (0..=chunk.len())
                        .map(move |i| char::from(alphabet[(word >> (18 - 6 * i) & 63) as usize]))
                })
                .collect()
        };
        for padding in ["", "x", "xx"] {
            let text = format!("{padding}{}", pem());
            assert!(find(&encode(text.as_bytes())).is_some(), "{padding:?}");
        }
    }
}
