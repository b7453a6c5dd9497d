//! Where the clusters of a simulated world come from.

use std::path::PathBuf;

use drover_model::VintageCluster;
use drover_sim::{Genesis, InstallationConfig, WorldConfig, WorldError, generate_for};

use super::WorldArgs;
use crate::{
    failure::{Failure, Outcome},
    files,
};

/// More generated clusters than this take minutes to make.
const GENERATED_MAX: usize = 10_000;

/// What fills a world.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Generated clusters.
    Generated(usize),
    /// Custom resources, as `kubectl get … -o yaml` prints them.
    Files(Vec<PathBuf>),
}

impl Source {
    /// `12`, or file names.
    pub(super) fn parse(words: &[String]) -> Outcome<Self> {
        if let [word] = words
            && let Ok(count) = word.parse::<usize>()
        {
            if count > GENERATED_MAX {
                return Err(Failure::usage(format!(
                    "--clusters {count}: at most {GENERATED_MAX}"
                )));
            }
            return Ok(Self::Generated(count));
        }
        Ok(Self::Files(words.iter().map(PathBuf::from).collect()))
    }

    /// The words that [`Source::parse`] takes.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Self::Generated(count) => vec![count.to_string()],
            Self::Files(paths) => paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
        }
    }

    /// The clusters.
    pub(super) fn read(&self, world: &WorldArgs) -> Outcome<Vec<VintageCluster>> {
        let named: Vec<(String, String)> = match self {
            Self::Generated(0) => return Ok(Vec::new()),
            Self::Generated(count) => generate_for(*count, world.seed, &installations(world))
                .into_iter()
                .enumerate()
                .map(|(n, text)| (format!("generated cluster {}", n + 1), text))
                .collect(),
            Self::Files(paths) => paths
                .iter()
                .map(|path| Ok((path.display().to_string(), files::read(path)?)))
                .collect::<Outcome<_>>()?,
        };
        read(&named)
    }
}

/// The clusters in texts that have names.
pub(super) fn read(named: &[(String, String)]) -> Outcome<Vec<VintageCluster>> {
    let files: Vec<(&str, &str)> = named
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    VintageCluster::read(&files).map_err(|error| Failure::usage(error.to_string()))
}

/// The installations of a world.
pub(super) fn installations(world: &WorldArgs) -> Vec<InstallationConfig> {
    InstallationConfig::several(usize::from(world.installations))
}

/// The beginning of a world.
pub(super) fn genesis(
    world: &WorldArgs,
    clusters: &[VintageCluster],
) -> Result<Genesis, WorldError> {
    let config = WorldConfig {
        seed: world.seed,
        installations: installations(world),
        faults: world.fault.clone(),
        ..WorldConfig::default()
    };
    Genesis::new(config, clusters)
}
