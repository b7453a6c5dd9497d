//! `drover installation`.

use drover_core::view;
use drover_proto::v1;

use super::Session;
use crate::{
    args::{Global, InstallationCommand},
    client::within,
    convert,
    failure::Outcome,
    output::{Columns, Row},
};

const COLUMNS: Columns = Columns {
    narrow: &[
        "NAME",
        "REGION",
        "PARTITION",
        "POOLS",
        "WORKERS",
        "OPEN",
        "SILENT",
    ],
    wide: &["REACH"],
};

pub(crate) async fn run(
    InstallationCommand::List: InstallationCommand,
    global: &Global,
) -> Outcome {
    let mut session = Session::open(global).await?;
    session.look_at_clock().await?;
    let request = within(v1::ListInstallationsRequest {}, session.timeout);
    let found = session
        .client
        .fleet
        .list_installations(request)
        .await?
        .into_inner()
        .installations;
    let installations: Vec<view::Installation> =
        found.into_iter().map(convert::installation).collect();
    let output = &session.output;
    output.list(
        &installations,
        |installation| installation.name.clone(),
        &COLUMNS,
        |installation| {
            let (connected, all) = installation
                .pools
                .iter()
                .fold((0, 0), |(connected, all), pool| {
                    (connected + pool.workers_connected, all + pool.workers)
                });
            let silent = installation
                .pools
                .iter()
                .filter_map(|pool| pool.silent_since)
                .min();
            let reach: Vec<&str> = installation
                .pools
                .iter()
                .flat_map(|pool| &pool.reach)
                .map(String::as_str)
                .collect();
            Row {
                narrow: vec![
                    installation.name.clone(),
                    installation.region.clone(),
                    installation.partition.clone(),
                    installation.pools.len().to_string(),
                    format!("{connected}/{all}"),
                    installation.open_workflows.to_string(),
                    silent.map_or_else(|| "-".to_owned(), |since| output.time(Some(since))),
                ],
                wide: vec![reach.join(",")],
            }
        },
    )
}
