//! What a world begins with, besides its clusters.

use drover_model::{Partition, VintageCluster};
use drover_step_api::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{WorldError, chance::Chance, faults::FaultSpec};

/// 2026-01-05T08:00:00Z, a Monday: where the domain clock begins unless told otherwise.
pub const DEFAULT_START: Timestamp = Timestamp(1_767_600_000_000_000);

/// What a world begins with, besides its clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorldConfig {
    /// Latencies, boot times, ids and faults derive from it.
    pub seed: u64,
    /// Where the domain clock begins.
    pub start: Timestamp,
    /// Installations, ordered.
    pub installations: Vec<InstallationConfig>,
    /// Faults to inject.
    pub faults: Vec<FaultSpec>,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            start: DEFAULT_START,
            installations: InstallationConfig::several(2),
            faults: Vec::new(),
        }
    }
}

/// One installation: a vintage management cluster and the Cluster API one that takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationConfig {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// `<base>` of vintage clusters that do not name their own.
    pub base_domain: String,
    /// Base domain of Cluster API clusters.
    pub capi_domain: String,
}

/// Regions of the installations, in order; after the last one it begins again.
const REGIONS: [&str; 8] = [
    "eu-central-1",
    "cn-north-1",
    "eu-west-1",
    "us-east-1",
    "cn-northwest-1",
    "ap-southeast-1",
    "us-west-2",
    "eu-north-1",
];

impl InstallationConfig {
    /// The `n`th installation, counted from 0: `golem` in eu-central-1, `lotus` in cn-north-1, then `inst03`, `inst04`, …
    pub fn nth(n: usize) -> Self {
        let name = match n {
            0 => "golem".to_owned(),
            1 => "lotus".to_owned(),
            n => format!("inst{:02}", n + 1),
        };
        let region = REGIONS[n % REGIONS.len()].to_owned();
        let top = match Partition::of_region(&region) {
            Partition::AwsCn => "example.cn",
            Partition::Aws | Partition::AwsUsGov => "example.io",
        };
        Self {
            base_domain: format!("{name}.{top}"),
            capi_domain: format!("capi.{name}.{top}"),
            name,
            region,
        }
    }

    /// The first `count` installations.
    pub fn several(count: usize) -> Vec<Self> {
        (0..count).map(Self::nth).collect()
    }

    /// The installation's partition.
    pub fn partition(&self) -> Partition {
        Partition::of_region(&self.region)
    }
}

/// The installation that a cluster of custom resource files is put into: one in its region, spread by id when there are
/// several; else one in its partition.
///
/// # Errors
/// When no installation lies in its partition.
pub fn installation_of<'i>(
    cluster: &VintageCluster,
    installations: &'i [InstallationConfig],
) -> Result<&'i InstallationConfig, WorldError> {
    let in_region: Vec<_> = installations
        .iter()
        .filter(|installation| installation.region == cluster.region)
        .collect();
    let candidates = if in_region.is_empty() {
        installations
            .iter()
            .filter(|installation| installation.partition() == cluster.partition())
            .collect()
    } else {
        in_region
    };
    let nth = Chance::new(0, "installations").below(candidates.len() as u64, "of", &cluster.id);
    candidates
        .get(nth as usize)
        .copied()
        .ok_or_else(|| WorldError::NoInstallation {
            cluster: cluster.id.clone(),
            region: cluster.region.clone(),
            partition: cluster.partition(),
        })
}
