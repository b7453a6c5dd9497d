//! One noun a file.

mod acts;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod brake;
pub(crate) mod definition;
pub(crate) mod installation;
mod step_output;
pub(crate) mod version;
pub(crate) mod worker;
pub(crate) mod workflow;

use std::time::Duration;

use drover_proto::v1;

use crate::{
    args::Global,
    client::{Client, within},
    context, convert,
    failure::Outcome,
    output::Output,
};

/// How often `--watch` looks again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A connected command.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
    pub(crate) timeout: Duration,
}

impl Session {
    pub(crate) async fn open(global: &Global) -> Outcome<Self> {
        let address = context::address(global)?;
        let client = Client::connect(&address, global.request_timeout()).await?;
        Ok(Self {
            client,
            output: Output::new(global),
            timeout: global.request_timeout(),
        })
    }

    /// Ages are counted from the coordinator's clock, not from this machine's.
    pub(crate) async fn look_at_clock(&mut self) -> Outcome {
        let request = within(v1::GetVersionRequest {}, self.timeout);
        let version = self.client.admin.get_version(request).await?.into_inner();
        self.output.now = convert::time(version.now.as_ref()).unwrap_or_default();
        Ok(())
    }
}

/// `NAME` or `NAME@VERSION`; version 0 means the newest.
pub(crate) fn name_and_version(text: &str) -> Outcome<(String, u32)> {
    match text.split_once('@') {
        None => Ok((text.to_owned(), 0)),
        Some((name, version)) => match version.parse::<u32>() {
            Ok(version) if version > 0 => Ok((name.to_owned(), version)),
            _ => Err(crate::failure::Failure::usage(format!(
                "{text:?}: use NAME or NAME@VERSION"
            ))),
        },
    }
}
