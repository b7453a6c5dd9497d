//! Keys, and where they lead: never out of the store.

use std::path::{Path, PathBuf};

/// The file of an object, or what is wrong with its key.
pub(crate) fn path(root: &Path, key: &str) -> Result<PathBuf, String> {
    let mut path = root.to_owned();
    for segment in key.split('/') {
        let problem = if segment.is_empty() {
            "an empty segment"
        } else if segment.starts_with('.') {
            // `.`, `..`, and the names of files that are being written.
            "a segment that begins with a dot"
        } else if segment.contains(|c: char| c.is_control() || c == '\\') {
            "a character that is not allowed"
        } else {
            path.push(segment);
            continue;
        };
        return Err(format!("the key {key:?} has {problem}"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_into_the_store() {
        let root = Path::new("/store");
        let path = path(root, "golem/c0001/etcd-2026.db");
        assert_eq!(path, Ok(PathBuf::from("/store/golem/c0001/etcd-2026.db")));
    }

    #[test]
    fn no_key_leads_out_of_it() {
        for key in [
            "",
            "/etc/passwd",
            "a//b",
            "a/",
            "..",
            "a/../../b",
            "./a",
            "a/.put-x",
            "a\0b",
            "a\\b",
        ] {
            assert!(path(Path::new("/store"), key).is_err(), "{key:?}");
        }
    }
}
