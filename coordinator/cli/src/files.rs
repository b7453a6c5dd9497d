//! Files that people give us.

use std::{fs, io::Read as _, path::Path};

use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// The largest file that is read whole.
const BYTES_MAX: u64 = 8 << 20;

/// Reads a text; `-` is stdin.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    let shown = path.display();
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(BYTES_MAX + 1)
            .read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
    };
    let n = read.map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    if n as u64 > BYTES_MAX {
        return Err(Failure::usage(format!(
            "{shown}: larger than {} MiB",
            BYTES_MAX >> 20
        )));
    }
    Ok(text)
}

/// Reads a JSON or YAML value.
pub(crate) fn read_value(path: &Path) -> Outcome<Value> {
    let text = read(path)?;
    if text.trim().is_empty() {
        return Err(Failure::usage(format!(
            "{}:1:1: the file is empty",
            path.display()
        )));
    }
    serde_saphyr::from_str(&text).map_err(|error| Failure::usage(yaml_error(path, &error)))
}

/// `FILE:LINE:COL: what`.
pub(crate) fn yaml_error(path: &Path, error: &serde_saphyr::Error) -> String {
    let place = error.location().map_or_else(
        || "1:1".to_owned(),
        |location| format!("{}:{}", location.line(), location.column()),
    );
    let message = error.to_string();
    let first = message.lines().next().unwrap_or("not YAML");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let what = match first.split_once(": ") {
        Some((position, what)) if position.starts_with("line ") => what,
        _ => first,
    };
    format!("{}:{place}: {what}", path.display())
}
