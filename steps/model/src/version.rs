//! Release and Kubernetes versions.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// `MAJOR.MINOR.PATCH`, ordered as numbers. Written without a leading `v`, read with or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"})
    }
}

impl Version {
    /// From its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }
}

/// The first release from which a live migration starts. Its Kubernetes version is the one that the first Cluster API
/// release speaks too, and it has no pod security policies any more.
pub const FIRST_MIGRATABLE_RELEASE: Version = Version::new(20, 0, 0);

/// Not `MAJOR.MINOR.PATCH`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a version of the form 20.1.5")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.to_owned());
        let plain = text.strip_prefix('v').unwrap_or(text);
        let mut numbers = plain.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u32>().ok()).flatten()
        });
        let mut next = || numbers.next().flatten().ok_or_else(error);
        let version = Self::new(next()?, next()?, next()?);
        match numbers.next() {
            None => Ok(version),
            Some(_) => Err(error()),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_numbers_not_as_text() {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        assert!(parse("9.0.0") < parse("v20.0.0"));
        assert!(parse("20.1.10") > parse("20.1.9"));
        assert_eq!(parse("v1.25.16").to_string(), "1.25.16");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "20", "20.1", "20.1.5.1", "20.1.x", "20.-1.5", "vv1.2.3"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
