//! `drover version`.

use drover_core::time::Timestamp;
use drover_proto::v1;
use serde::Serialize;

use super::Session;
use crate::{
    args::Global,
    client::within,
    convert,
    failure::{Exit, Outcome},
    output::Output,
};

#[derive(Serialize)]
struct Versions {
    command: &'static str,
    coordinator: Option<Coordinator>,
}

#[derive(Serialize)]
struct Coordinator {
    version: String,
    epoch: u64,
    started_at: Option<Timestamp>,
    now: Option<Timestamp>,
    free_bytes: u64,
    storage: Option<String>,
}

pub(crate) async fn run(global: &Global) -> Outcome {
    let mut versions = Versions {
        command: env!("CARGO_PKG_VERSION"),
        coordinator: None,
    };
    match Session::open(global).await {
        Ok(mut session) => {
            let request = within(v1::GetVersionRequest {}, session.timeout);
            let version = session
                .client
                .admin
                .get_version(request)
                .await?
                .into_inner();
            versions.coordinator = Some(Coordinator {
                version: version.version,
                epoch: version.epoch,
                started_at: convert::time(version.started_at.as_ref()),
                now: convert::time(version.now.as_ref()),
                free_bytes: version.free_bytes,
                storage: version
                    .storage
                    .map(|failure| format!("{} [{}]", failure.message, failure.code)),
            });
        }
        // Its own version is worth printing all the same.
        Err(failure) if failure.exit == Exit::Unreachable => {}
        Err(failure) => return Err(failure),
    }
    Output::new(global).one(&versions, versions.command, || {
        let mut text = format!("drover      {}", versions.command);
        match &versions.coordinator {
            None => text.push_str("\ncoordinator not reachable"),
            Some(coordinator) => {
                text.push_str(&format!(
                    "\ncoordinator {} (epoch {})",
                    coordinator.version, coordinator.epoch
                ));
                if let Some(storage) = &coordinator.storage {
                    text.push_str(&format!("\n{storage}"));
                }
            }
        }
        text
    })
}
