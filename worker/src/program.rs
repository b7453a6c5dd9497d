//! What `drover-worker` and `drover dev worker` have in common: the settings, and running until told to stop.

use std::{
    collections::BTreeMap, future::Future, net::SocketAddr, path::PathBuf, sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use drover_process::log::Log;
use drover_step_api::{Class, Reach};
use tonic::transport::Uri;

use crate::{
    End, Worker,
    config::{Config, default_credits},
    outside,
    patient::PatientDoor,
    ports::DoorPorts,
};

/// The first wait before a worker that lost its session dials again, and the longest.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// The settings of a worker.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where the coordinator is, for example 127.0.0.1:7411
    #[arg(long, value_name = "ADDRESS")]
    pub coordinator: String,
    /// Installation that it serves
    #[arg(long, value_name = "NAME")]
    pub installation: String,
    /// Its pool within the installation
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub pool: String,
    /// Its id: stays the same across restarts, unique in the fleet
    #[arg(long, value_name = "ID")]
    pub id: String,
    /// Folder of its spool; results wait there until the coordinator has them
    #[arg(long, value_name = "DIR")]
    pub spool: PathBuf,
    /// The world that outside calls go to.
    #[command(flatten)]
    pub world: outside::Settings,
    /// Places it reaches: vintage-mc, capi-mc, workload, aws, vault, etcd; all of them unless told otherwise
    #[arg(long, value_name = "PLACE", value_delimiter = ',', value_parser = reach)]
    pub reach: Vec<Reach>,
    /// What operators filter by, and placement finds: region=eu-central-1, partition=aws, account=111122223333
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = pair)]
    pub label: Vec<(String, String)>,
    /// How much it takes at once of a class: light=32
    #[arg(long, value_name = "CLASS=COUNT", value_delimiter = ',', value_parser = credit)]
    pub credits: Vec<(String, u32)>,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7431")]
    pub http: SocketAddr,
    /// How long attempts may take to end once it is told to stop; what lasts longer is handed back
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
    /// Log filter, for example info or drover_worker=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

fn reach(word: &str) -> Result<Reach, String> {
    Reach::ALL
        .into_iter()
        .find(|place| place.as_str() == word)
        .ok_or_else(|| {
            let known: Vec<&str> = Reach::ALL.iter().map(|place| place.as_str()).collect();
            format!("use one of {}", known.join(", "))
        })
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("use KEY=VALUE".to_owned()),
    }
}

fn credit(text: &str) -> Result<(String, u32), String> {
    let (class, count) = pair(text)?;
    let known: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
    if !known.contains(&class.as_str()) {
        return Err(format!(
            "there is no class {class:?}: use one of {}",
            known.join(", ")
        ));
    }
    match count.parse() {
        Ok(count) => Ok((class, count)),
        Err(_) => Err(format!("{count:?} is no count")),
    }
}

impl Settings {
    /// Checks what needs no other process.
    ///
    /// # Errors
    /// The first setting that does not work, and why.
    pub fn check(&self, log: Log) -> anyhow::Result<Config> {
        let uri: Uri = url(&self.coordinator)
            .parse()
            .with_context(|| format!("--coordinator {:?} is no address", self.coordinator))?;
        self.world.check()?;
        let reach: Vec<Reach> = if self.reach.is_empty() {
            Reach::ALL.to_vec()
        } else {
            self.reach.clone()
        };
        let mut credits = default_credits();
        credits.extend(self.credits.iter().cloned());
        Ok(Config {
            coordinator: uri,
            installation: self.installation.clone(),
            pool: self.pool.clone(),
            id: self.id.clone(),
            spool: self.spool.clone(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            reach: reach
                .iter()
                .map(|place| place.as_str().to_owned())
                .collect(),
            labels: self.label.iter().cloned().collect::<BTreeMap<_, _>>(),
            credits,
            http: Some(self.http),
            reconnect: RECONNECT,
            drain: Duration::from_secs(self.drain_seconds),
            set_log_level: Arc::new(move |filter| {
                log.set(filter).map_err(|error| error.to_string())
            }),
        })
    }
}

/// An address with its scheme.
pub(crate) fn url(address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    }
}

/// Serves every step family against the chosen world until `stop`, then drains. `ready` is called once the worker dials.
///
/// # Errors
/// When it does not start, or cannot keep results any more.
pub async fn run(
    config: Config,
    world: &outside::Settings,
    ready: impl FnOnce(Option<SocketAddr>),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (door, clock) = world.open().await?;
    let door = PatientDoor::new(door, Arc::clone(&clock));
    let ports = DoorPorts(Arc::new(door));
    let registry = crate::registry().context("the step kinds of this build")?;
    let (id, installation) = (config.id.clone(), config.installation.clone());
    let worker = Worker::new(config, registry, Arc::new(ports), clock).await?;
    tracing::info!(id, installation, http = ?worker.http, "dialing the coordinator");
    ready(worker.http);
    let handle = worker.handle();
    let mut ended = std::pin::pin!(worker.run());
    // Both arms are cancel-safe: the worker is polled again below, and the signal is not needed any more then.
    let end = tokio::select! {
        end = &mut ended => end,
        () = stop => {
            handle.stop();
            ended.await
        }
    };
    match end {
        End::Stopped => Ok(()),
        End::Superseded => {
            anyhow::bail!(
                "a newer process of worker {id} has taken over: every worker needs an id of its own"
            )
        }
        End::Spool(error) => {
            Err(anyhow::Error::new(error).context("results cannot be kept any more"))
        }
    }
}
