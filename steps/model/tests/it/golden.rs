//! Comparing with files under `tests/golden`. `UPDATE_GOLDEN=1 cargo test -p drover-model` rewrites them; review the diff.

use std::{fs, path::PathBuf};

use serde_json::Value;

pub(crate) fn check(name: &str, value: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"));
    let text = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(
        golden,
        text,
        "{} differs from what is rendered now",
        path.display()
    );
}
