//! Contexts: named coordinators in one YAML file, like kubectl's.
//!
//! ```yaml
//! current: production
//! contexts:
//!   production: { address: 127.0.0.1:7411 }
//! ```

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    args::Global,
    failure::{Failure, Outcome},
};

/// Where `drover dev` listens.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:7411";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    #[serde(default)]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    address: String,
}

/// The coordinator's address: the flag, the context, or the default.
pub(crate) fn address(global: &Global) -> Outcome<String> {
    if let Some(address) = &global.address {
        return Ok(address.clone());
    }
    let path = path();
    let file = match &path {
        Some(path) => read(path)?,
        None => Contexts::default(),
    };
    let shown = path.map_or_else(
        || "the contexts file".to_owned(),
        |path| path.display().to_string(),
    );
    let Some(name) = global.context.clone().or(file.current) else {
        return Ok(DEFAULT_ADDRESS.to_owned());
    };
    match file.contexts.get(&name) {
        Some(context) => Ok(context.address.clone()),
        None => {
            let known: Vec<&str> = file.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            Err(Failure::usage(format!(
                "there is no context {name:?} in {shown}: {known}"
            )))
        }
    }
}

fn path() -> Option<PathBuf> {
    if let Some(path) = env::var_os("DROVER_CONFIG_FILE") {
        return Some(path.into());
    }
    let base = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let base =
        base.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(base.join("drover/contexts.yaml"))
}

fn read(path: &Path) -> Outcome<Contexts> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
        Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
    };
    serde_saphyr::from_str(&text)
        .map_err(|error| Failure::usage(crate::files::yaml_error(path, &error)))
}
