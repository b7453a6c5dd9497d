//! Layered settings of the servers.
//!
//! The flags of a server are the whole list of its settings. Each can also be given as an environment variable
//! (`--lease-ttl` is `DROVER_LEASE_TTL`) and as a key of one YAML file named by `--config`:
//!
//! ```yaml
//! listen: 127.0.0.1:7411
//! label: [region=eu-central-1, account=111122223333]
//! ```
//!
//! Flags win over the environment, and that over the file. An unknown key of the file is an error that names the nearest
//! known one; a value that does not fit is an error that says where it stands. Secrets are given by file name only.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use clap::{Arg, ArgAction, ArgMatches, Command, Parser, parser::ValueSource};
use serde_json::Value;
use serde_saphyr::Spanned;

/// The flag that names the file.
const CONFIG: &str = "config";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// What clap says about flags or the environment; help and version, too.
    #[error("{0}")]
    Flags(clap::Error),
    /// The file cannot be read.
    #[error("{path}: {source}; name an existing file with --config")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in the file is wrong: `FILE:LINE:COL: what`, one line for each problem.
    #[error("{}", .0.join("\n"))]
    File(Vec<String>),
}

/// Reads the settings of `T` from flags, environment and file.
///
/// # Errors
/// Every problem of the file at once, or the first of the flags.
pub fn load<T: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<T, SettingsError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = with_environment(T::command());
    // Required settings may stand in the file: the first look is only at what flags and environment give.
    let relaxed = command.clone().mut_args(|arg| arg.required(false));
    let given = relaxed
        .clone()
        .try_get_matches_from(&args)
        .map_err(SettingsError::Flags)?;
    let mut all = args;
    if let Some(path) = given
        .try_get_one::<std::path::PathBuf>(CONFIG)
        .ok()
        .flatten()
    {
        all.extend(from_file(path, &relaxed, &given)?);
    }
    let matches = command
        .try_get_matches_from(all)
        .map_err(SettingsError::Flags)?;
    T::from_arg_matches(&matches).map_err(SettingsError::Flags)
}

/// Every flag is an environment variable, too.
fn with_environment(command: Command) -> Command {
    command.mut_args(|arg| match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => {
            let name = format!("DROVER_{}", long.replace('-', "_").to_uppercase());
            arg.env(name).hide_env_values(true)
        }
        _ => arg,
    })
}

/// The file's keys as flags, without those that flags or environment give.
fn from_file(
    path: &Path,
    command: &Command,
    given: &ArgMatches,
) -> Result<Vec<OsString>, SettingsError> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
        path: shown.clone(),
        source,
    })?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let keys: BTreeMap<String, Spanned<Value>> =
        serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map_or_else(String::new, |location| {
                format!("{}:{}", location.line(), location.column())
            });
            let message = error.to_string();
            let first = message
                .lines()
                .next()
                .unwrap_or("not a YAML mapping")
                .to_owned();
            SettingsError::File(vec![format!("{shown}:{place}: {first}")])
        })?;
    let mut flags = Vec::new();
    let mut problems = Vec::new();
    for (key, value) in &keys {
        let place = format!(
            "{shown}:{}:{}",
            value.defined.line(),
            value.defined.column()
        );
        match flag(key, &value.value, command, given) {
            Ok(some) => flags.extend(some),
            Err(problem) => problems.push(format!("{place}: {problem}")),
        }
    }
    if problems.is_empty() {
        Ok(flags)
    } else {
        Err(SettingsError::File(problems))
    }
}

fn flag(
    key: &str,
    value: &Value,
    command: &Command,
    given: &ArgMatches,
) -> Result<Vec<OsString>, String> {
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(key) && arg.get_action().takes_values() && key != CONFIG)
        .ok_or_else(|| unknown(key, command))?;
    let id = arg.get_id().as_str();
    if matches!(
        given.value_source(id),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    ) {
        return Ok(Vec::new());
    }
    let texts = match value {
        Value::Array(items) if is_list(arg) => {
            items.iter().map(scalar).collect::<Result<Vec<_>, _>>()
        }
        other => scalar(other).map(|text| vec![text]),
    };
    let texts = texts.map_err(|found| format!("`{key}` cannot be {found}"))?;
    let flags: Vec<OsString> = texts
        .iter()
        .map(|text| OsString::from(format!("--{key}={text}")))
        .collect();
    // Alone, so that the error is about this key.
    let name = OsString::from(command.get_name());
    let alone = std::iter::once(name).chain(flags.iter().cloned());
    command
        .clone()
        .try_get_matches_from(alone)
        .map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or("it does not fit");
            format!("`{key}`: {}", line.strip_prefix("error: ").unwrap_or(line))
        })?;
    Ok(flags)
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn scalar(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null => Err("empty"),
        Value::Array(_) => Err("a list"),
        Value::Object(_) => Err("a mapping"),
    }
}

fn unknown(key: &str, command: &Command) -> String {
    let known: Vec<&str> = command
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values())
        .filter_map(Arg::get_long)
        .filter(|long| *long != CONFIG)
        .collect();
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
    match nearest {
        Some(nearest) => format!("unknown key `{key}`; the nearest known one is `{nearest}`"),
        None => format!("unknown key `{key}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, path::PathBuf};

    use super::*;

    #[derive(Debug, Parser, PartialEq)]
    struct Sample {
        #[arg(long)]
        config: Option<PathBuf>,
        /// Where to listen.
        #[arg(long)]
        listen: String,
        #[arg(long, default_value_t = 3)]
        retries: u32,
        #[arg(long)]
        label: Vec<String>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn read(text: &str, flags: &[&str]) -> Result<Sample, SettingsError> {
        let file = file(text);
        let mut args = vec![
            OsString::from("sample"),
            "--config".into(),
            file.path().into(),
        ];
        args.extend(flags.iter().map(OsString::from));
        load(args)
    }

    #[test]
    fn flags_win_over_the_file_and_defaults_come_last() {
        let sample = read(
            "listen: a:1\nretries: 5\nlabel: [x=1, y=2]\n",
            &["--retries", "9"],
        )
        .unwrap();
        assert_eq!((sample.listen.as_str(), sample.retries), ("a:1", 9));
        assert_eq!(sample.label, ["x=1", "y=2"]);
        assert_eq!(read("listen: a:1\n", &[]).unwrap().retries, 3);
    }

    #[test]
    fn every_problem_of_the_file_is_said_at_once_with_its_place() {
        let error = read("listen: a:1\nretrys: 5\nretries: many\n", &[])
            .unwrap_err()
            .to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 2, "{error}");
        assert!(
            error.contains(":2:") && error.contains("nearest known one is `retries`"),
            "{error}"
        );
        assert!(error.contains(":3:") && error.contains("many"), "{error}");
    }

    #[test]
    fn a_missing_setting_is_asked_for_and_broken_yaml_has_a_place() {
        assert!(matches!(
            read("retries: 1\n", &[]),
            Err(SettingsError::Flags(_))
        ));
        let error = read("listen: [\n", &[]).unwrap_err().to_string();
        assert!(error.contains(":2:") || error.contains(":1:"), "{error}");
        assert!(matches!(
            read("listen: {a: 1}\n", &[]),
            Err(SettingsError::File(_))
        ));
    }

    #[test]
    fn every_setting_has_its_environment_variable() {
        use clap::CommandFactory as _;
        let command = with_environment(Sample::command());
        let names: Vec<_> = command
            .get_arguments()
            .filter(|arg| arg.get_action().takes_values())
            .map(|arg| arg.get_env().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            [
                "DROVER_CONFIG",
                "DROVER_LISTEN",
                "DROVER_RETRIES",
                "DROVER_LABEL"
            ]
        );
    }
}
