//! The outside that calls go to: a simulated world or the real one, as the build has them and the settings choose.

use std::sync::Arc;

use clap::Args;
use drover_ports::Door;
use drover_step_api::Clock;

/// How long a worker waits for the simulated world when it starts.
#[cfg(feature = "sim")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Which outside: the settings of exactly one.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "outside")]
pub struct Settings {
    /// Address of the simulated world that every outside call goes to; see `drover dev`
    #[cfg(feature = "sim")]
    #[arg(long, value_name = "ADDRESS")]
    pub world: Option<String>,
    /// Clusters and AWS.
    #[cfg(feature = "real")]
    #[command(flatten)]
    pub real: crate::real::Settings,
}

/// Why the settings choose no outside, or more than one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// Neither.
    #[error("nothing says where outside calls go: give {0}")]
    Nothing(&'static str),
    /// Both.
    #[error(
        "outside calls go either to the simulated world of --world or to real clusters: take {0} away, or --world"
    )]
    Both(&'static str),
    /// The simulated one, at no address.
    #[error("--world {0:?} is no address")]
    World(String),
    /// Clusters and AWS, but not all of it.
    #[error("real clusters need {0} too")]
    Incomplete(String),
    /// Clusters and AWS, with a setting that does not work.
    #[error("{0}")]
    Real(String),
}

/// What may be given, in this build.
const WAYS: &str = match (cfg!(feature = "sim"), cfg!(feature = "real")) {
    (true, true) => {
        "--world for a simulated world, or --vintage-kubeconfig, --capi-kubeconfig, --region and --store for real clusters"
    }
    (true, false) => "--world for a simulated world; this build does not reach real clusters",
    (false, true) => "--vintage-kubeconfig, --capi-kubeconfig, --region and --store",
    (false, false) => "a build with the feature sim or real; this one has neither",
};

/// The outside that was chosen.
enum Choice {
    #[cfg(feature = "sim")]
    Simulated(String),
    #[cfg(feature = "real")]
    Real(crate::real::Places),
}

impl Settings {
    fn choose(&self) -> Result<Choice, ChoiceError> {
        #[cfg(feature = "real")]
        if let Some(given) = self.real.first_given() {
            #[cfg(feature = "sim")]
            if self.world.is_some() {
                return Err(ChoiceError::Both(given));
            }
            tracing::debug!(given, "outside calls go to real clusters");
            return self.real.places().map(Choice::Real);
        }
        #[cfg(feature = "sim")]
        if let Some(world) = &self.world {
            let address = crate::program::url(world);
            return match address.parse::<tonic::transport::Uri>() {
                Ok(_) => Ok(Choice::Simulated(address)),
                Err(_) => Err(ChoiceError::World(world.clone())),
            };
        }
        Err(ChoiceError::Nothing(WAYS))
    }

    /// Checks what needs nobody else.
    ///
    /// # Errors
    /// When not exactly one outside is chosen, or a setting of it does not work.
    pub fn check(&self) -> Result<(), ChoiceError> {
        self.choose().map(drop)
    }

    /// The door to the outside, and its clock.
    ///
    /// # Errors
    /// As [`Settings::check`]; when the outside cannot be reached at all.
    pub(crate) async fn open(&self) -> anyhow::Result<(Arc<dyn Door>, Arc<dyn Clock>)> {
        match self.choose()? {
            #[cfg(feature = "sim")]
            Choice::Simulated(address) => {
                let world = drover_sim::WorldClient::connect(&address, PATIENCE).await?;
                Ok((Arc::new(world.door()), Arc::new(world.clock())))
            }
            #[cfg(feature = "real")]
            Choice::Real(places) => {
                let door = places.open().await?;
                Ok((door, Arc::new(crate::real::WallClock::default())))
            }
        }
    }
}

#[cfg(test)]
#[cfg(all(feature = "sim", feature = "real"))]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        outside: Settings,
    }

    /// What is said of some flags; empty when they do.
    fn said(flags: &[&str]) -> String {
        let flags = std::iter::once("x").chain(flags.iter().copied());
        let flags = Flags::try_parse_from(flags).unwrap();
        let said = flags.outside.check();
        said.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn each_wrong_choice_is_told_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        let vintage = ["--vintage-kubeconfig", file];
        let capi = ["--capi-kubeconfig", file];
        let region = ["--region", "eu-central-1"];
        let store = ["--store", "/nowhere/yet"];
        let all = [vintage, capi, region, store].concat();
        let with = |more: &[&'static str]| said(&[&all[..], more].concat());
        for (found, expected) in [
            (said(&["--world", "127.0.0.1:7500"]), ""),
            (with(&[]), ""),
            (with(&["--aws-endpoint", "http://127.0.0.1:5000"]), ""),
            (
                said(&[]),
                "nothing says where outside calls go: give --world for a simulated world, or --vintage-kubeconfig, \
                 --capi-kubeconfig, --region and --store for real clusters",
            ),
            (
                said(&[&["--world", "127.0.0.1:7500"][..], &region[..]].concat()),
                "outside calls go either to the simulated world of --world or to real clusters: take --region away, \
                 or --world",
            ),
            (said(&["--world", "a b"]), "--world \"a b\" is no address"),
            (
                said(&[vintage, region].concat()),
                "real clusters need --capi-kubeconfig, --store too",
            ),
            (
                said(&[["--vintage-kubeconfig", "/nowhere"], capi, region, store].concat()),
                "--vintage-kubeconfig /nowhere is no file",
            ),
            (
                with(&["--aws-endpoint", "127.0.0.1:5000"]),
                "--aws-endpoint \"127.0.0.1:5000\" is no http or https address",
            ),
            (with(&["--ledger-reads"]), "--ledger-reads needs --ledger"),
        ] {
            assert_eq!(found, expected);
        }
    }
}
