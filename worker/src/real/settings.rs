//! Where the real world is.

use std::path::{Path, PathBuf};

use clap::Args;
use tonic::transport::Uri;

use crate::outside::ChoiceError;

/// Settings of the real world. All of them are optional to the parser: the simulated one may be chosen instead.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "real-world")]
pub struct Settings {
    /// Kubeconfig of the vintage management cluster
    #[arg(long, value_name = "FILE")]
    pub vintage_kubeconfig: Option<PathBuf>,
    /// Kubeconfig of the Cluster API management cluster
    #[arg(long, value_name = "FILE")]
    pub capi_kubeconfig: Option<PathBuf>,
    /// AWS region of the clusters, for example eu-central-1
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Folder of the region store, which keeps snapshots; on an encrypted volume that outlives the worker
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Address that stands in for every AWS service
    #[arg(long, value_name = "URL")]
    pub aws_endpoint: Option<String>,
    /// File to which every mutation is written, one JSON line each; never secret data
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Write reads to the ledger, too
    #[arg(long)]
    pub ledger_reads: bool,
}

/// Where the real world is, completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Kubeconfig of the vintage management cluster.
    pub vintage_kubeconfig: PathBuf,
    /// Kubeconfig of the Cluster API management cluster.
    pub capi_kubeconfig: PathBuf,
    /// AWS region.
    pub region: String,
    /// Folder of the region store.
    pub store: PathBuf,
    /// Stands in for every AWS service.
    pub aws_endpoint: Option<String>,
    /// File of the ledger.
    pub ledger: Option<PathBuf>,
    /// Whether reads stand in the ledger, too.
    pub ledger_reads: bool,
}

impl Settings {
    /// The flag of the first setting that was given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        [
            (self.vintage_kubeconfig.is_some(), "--vintage-kubeconfig"),
            (self.capi_kubeconfig.is_some(), "--capi-kubeconfig"),
            (self.region.is_some(), "--region"),
            (self.store.is_some(), "--store"),
            (self.aws_endpoint.is_some(), "--aws-endpoint"),
            (self.ledger.is_some(), "--ledger"),
            (self.ledger_reads, "--ledger-reads"),
        ]
        .into_iter()
        .find_map(|(is_given, flag)| is_given.then_some(flag))
    }

    /// All of it, or what is wrong with it.
    pub(crate) fn places(&self) -> Result<Places, ChoiceError> {
        let (Some(vintage), Some(capi), Some(region), Some(store)) = (
            &self.vintage_kubeconfig,
            &self.capi_kubeconfig,
            &self.region,
            &self.store,
        ) else {
            return Err(ChoiceError::Incomplete(self.missing().join(", ")));
        };
        is_file("--vintage-kubeconfig", vintage)?;
        is_file("--capi-kubeconfig", capi)?;
        if let Some(url) = &self.aws_endpoint {
            is_url(url)?;
        }
        if self.ledger_reads && self.ledger.is_none() {
            let why = "--ledger-reads needs --ledger";
            return Err(ChoiceError::Real(why.to_owned()));
        }
        Ok(Places {
            vintage_kubeconfig: vintage.clone(),
            capi_kubeconfig: capi.clone(),
            region: region.clone(),
            store: store.clone(),
            aws_endpoint: self.aws_endpoint.clone(),
            ledger: self.ledger.clone(),
            ledger_reads: self.ledger_reads,
        })
    }

    fn missing(&self) -> Vec<&'static str> {
        [
            (self.vintage_kubeconfig.is_none(), "--vintage-kubeconfig"),
            (self.capi_kubeconfig.is_none(), "--capi-kubeconfig"),
            (self.region.is_none(), "--region"),
            (self.store.is_none(), "--store"),
        ]
        .into_iter()
        .filter_map(|(is_missing, flag)| is_missing.then_some(flag))
        .collect()
    }
}

fn is_file(flag: &str, path: &Path) -> Result<(), ChoiceError> {
    if path.is_file() {
        return Ok(());
    }
    let path = path.display();
    Err(ChoiceError::Real(format!("{flag} {path} is no file")))
}

fn is_url(url: &str) -> Result<(), ChoiceError> {
    let is_http = url.parse::<Uri>().is_ok_and(|uri| {
        uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    if is_http {
        return Ok(());
    }
    let why = format!("--aws-endpoint {url:?} is no http or https address");
    Err(ChoiceError::Real(why))
}
