//! Faults as they are configured, and their text form.

use std::{fmt, str::FromStr};

use drover_ports::Call;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::chance::Chance;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Refused as one request too many; nothing happens.
    Throttling,
    /// Refused for lack of permission; nothing happens.
    Denied,
    /// It happens, but the reply is lost.
    LostReply,
    /// The far side fails, before or after it has happened.
    Unavailable,
    /// The worker's AWS credentials have expired; nothing happens until they are refreshed, or for 15 minutes.
    ExpiredCredentials,
    /// The first new machine of a cluster never boots; the one that replaces it does.
    NodeNeverUp,
    /// The first machine of a cluster that joins its control plane fails to; the one that replaces it does not.
    JoinFails,
    /// New machines boot slowly.
    SlowBoot,
    /// A node of a pool, on which nothing of the customer's runs, dies when nobody replaces it any more.
    DeadNodes,
    /// A customer's budget lets no pod go, until its owner has seen a drain wait for it long enough.
    BlockingBudget,
    /// The subnets of node pools have next to no free addresses.
    ScarceAddresses,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Throttling,
        Self::Denied,
        Self::LostReply,
        Self::Unavailable,
        Self::ExpiredCredentials,
        Self::NodeNeverUp,
        Self::JoinFails,
        Self::SlowBoot,
        Self::DeadNodes,
        Self::BlockingBudget,
        Self::ScarceAddresses,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttling => "throttling",
            Self::Denied => "denied",
            Self::LostReply => "lost-reply",
            Self::Unavailable => "unavailable",
            Self::ExpiredCredentials => "expired-credentials",
            Self::NodeNeverUp => "node-never-up",
            Self::JoinFails => "join-fails",
            Self::SlowBoot => "slow-boot",
            Self::DeadNodes => "dead-nodes",
            Self::BlockingBudget => "blocking-budget",
            Self::ScarceAddresses => "scarce-addresses",
        }
    }

    /// One line: what it does, to what, how often.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Throttling => "10% of AWS calls are refused as one too many",
            Self::Denied => "each step's first autoscaling:SuspendProcesses is denied",
            Self::LostReply => "5% of changes happen, but their reply is lost",
            Self::Unavailable => {
                "5% of calls fail on the far side, before or after they have happened"
            }
            Self::ExpiredCredentials => {
                "AWS credentials expire before the masters are deregistered"
            }
            Self::NodeNeverUp => {
                "each cluster's first new machine never boots; its replacement does"
            }
            Self::JoinFails => {
                "each cluster's first machine that joins its control plane fails to; its replacement does not"
            }
            Self::SlowBoot => "new machines take four times as long to boot",
            Self::DeadNodes => {
                "one old node of each cluster's pools dies once the operators are paused"
            }
            Self::BlockingBudget => {
                "a budget in each cluster lets no pod go until a drain has waited for a quarter of an hour"
            }
            Self::ScarceAddresses => "the subnets of node pools have one free address each",
        }
    }

    /// True for faults that lie in clusters rather than in calls.
    pub fn is_of_clusters(self) -> bool {
        matches!(
            self,
            Self::NodeNeverUp
                | Self::JoinFails
                | Self::SlowBoot
                | Self::DeadNodes
                | Self::BlockingBudget
                | Self::ScarceAddresses
        )
    }

    fn default_target(self) -> Target {
        match self {
            Self::Throttling => Target::Cloud,
            Self::Denied => Target::Action("autoscaling:SuspendProcesses".to_owned()),
            Self::ExpiredCredentials => Target::Action(
                "elasticloadbalancing:DeregisterInstancesFromLoadBalancer".to_owned(),
            ),
            Self::LostReply => Target::Mutations,
            Self::Unavailable
            | Self::NodeNeverUp
            | Self::JoinFails
            | Self::SlowBoot
            | Self::DeadNodes
            | Self::BlockingBudget
            | Self::ScarceAddresses => Target::Anything,
        }
    }

    fn default_rate(self) -> Rate {
        match self {
            Self::Throttling => Rate::Percent(10.0),
            Self::LostReply | Self::Unavailable => Rate::Percent(5.0),
            Self::Denied | Self::ExpiredCredentials => Rate::Once,
            Self::NodeNeverUp
            | Self::JoinFails
            | Self::SlowBoot
            | Self::DeadNodes
            | Self::BlockingBudget
            | Self::ScarceAddresses => Rate::Always,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FaultKind {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| FaultError::Kind(text.to_owned()))
    }
}

/// What a fault strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Target {
    Anything,
    /// AWS calls.
    Cloud,
    /// Calls that change something.
    Mutations,
    /// An action, or actions that begin so, or a cluster.
    Action(String),
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rate {
    Once,
    Always,
    Percent(f64),
}

/// One fault to inject. See the module's text form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// Its kind.
    pub kind: FaultKind,
    target: Target,
    pub(super) rate: Rate,
}

/// Why a text is not a fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultError {
    /// Unknown kind.
    #[error(
        "{0:?} is no fault; there are {list}",
        list = every_kind()
    )]
    Kind(String),
    /// Unknown rate.
    #[error("{0:?} is no rate; write once, always, or a share such as 20%")]
    Rate(String),
    /// Empty target.
    #[error(
        "there is nothing between @ and the rate; name an action such as ec2:DescribeInstances, or leave @ out"
    )]
    Target,
}

/// `a, b and c`.
fn every_kind() -> String {
    let words = FaultKind::ALL.map(FaultKind::as_str);
    let (last, others) = words.split_last().expect("there are kinds");
    format!("{} and {last}", others.join(", "))
}

impl From<FaultKind> for FaultSpec {
    fn from(kind: FaultKind) -> Self {
        Self {
            kind,
            target: kind.default_target(),
            rate: kind.default_rate(),
        }
    }
}

impl FromStr for FaultSpec {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (rest, rate) = match text.split_once('=') {
            Some((rest, rate)) => (rest, Some(parse_rate(rate)?)),
            None => (text, None),
        };
        let (kind, target) = match rest.split_once('@') {
            Some((_, "")) => return Err(FaultError::Target),
            Some((kind, target)) => (kind, Some(Target::Action(target.to_owned()))),
            None => (rest, None),
        };
        let mut spec = Self::from(kind.parse::<FaultKind>()?);
        spec.target = target.unwrap_or(spec.target);
        spec.rate = rate.unwrap_or(spec.rate);
        Ok(spec)
    }
}

fn parse_rate(text: &str) -> Result<Rate, FaultError> {
    match text {
        "once" => Ok(Rate::Once),
        "always" => Ok(Rate::Always),
        share => share
            .strip_suffix('%')
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(Rate::Percent)
            .ok_or_else(|| FaultError::Rate(text.to_owned())),
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Target::Action(action) = &self.target {
            write!(f, "@{action}")?;
        }
        match self.rate {
            Rate::Once => f.write_str("=once"),
            Rate::Always => f.write_str("=always"),
            Rate::Percent(percent) => write!(f, "={percent}%"),
        }
    }
}

impl FaultSpec {
    /// Faults of clusters: whether one has it.
    pub(crate) fn concerns_cluster(&self, cluster: &str, seed: u64) -> bool {
        if !self.kind.is_of_clusters() {
            return false;
        }
        let named = match &self.target {
            Target::Action(name) => name == cluster,
            Target::Anything | Target::Cloud | Target::Mutations => true,
        };
        named
            && match self.rate {
                Rate::Once | Rate::Always => true,
                Rate::Percent(percent) => {
                    Chance::new(seed, "faults").happens(percent, self.kind.as_str(), cluster, 0)
                }
            }
    }

    pub(super) fn targets(&self, call: &Call, action: &str) -> bool {
        match &self.target {
            Target::Anything => true,
            Target::Cloud => matches!(call, Call::Cloud { .. }),
            Target::Mutations => call.mutates(),
            Target::Action(pattern) => match pattern.strip_suffix('*') {
                Some(prefix) => action.starts_with(prefix),
                None => action == pattern,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_read_and_written() {
        for text in [
            "throttling=10%",
            "denied@ec2:DescribeInstances=always",
            "lost-reply@etcd:*=once",
            "slow-boot@c0001=always",
        ] {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
        }
        assert_eq!(
            "throttling".parse::<FaultSpec>().unwrap(),
            FaultKind::Throttling.into()
        );
        for kind in FaultKind::ALL {
            assert_eq!(kind.to_string().parse::<FaultKind>(), Ok(kind));
            assert!(!kind.describe().is_empty());
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_to_write() {
        let error = |text: &str| text.parse::<FaultSpec>().unwrap_err().to_string();
        assert!(error("throtling").contains("there are throttling"));
        assert!(error("denied=often").contains("20%"));
        assert!(error("denied=120%").contains("20%"));
        assert!(error("denied@=once").contains("leave @ out"));
    }

    #[test]
    fn a_cluster_fault_can_name_its_cluster() {
        let spec: FaultSpec = "node-never-up@c0002".parse().unwrap();
        assert!(spec.concerns_cluster("c0002", 1));
        assert!(!spec.concerns_cluster("c0001", 1));
        let throttling = FaultSpec::from(FaultKind::Throttling);
        assert!(!throttling.concerns_cluster("c0001", 1));
    }
}
