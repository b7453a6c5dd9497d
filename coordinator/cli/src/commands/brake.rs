//! `drover brake`.

use drover_core::view;
use drover_proto::v1;
use serde::Serialize;

use super::Session;
use crate::{
    args::{BrakeCommand, Global},
    client::within,
    convert,
    failure::Outcome,
};

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    brake: view::Brake,
    workflows: std::collections::BTreeMap<&'static str, u32>,
}

pub(crate) async fn run(command: BrakeCommand, global: &Global) -> Outcome {
    let mut session = Session::open(global).await?;
    session.look_at_clock().await?;
    match command {
        BrakeCommand::On { reason, dry_run } => session.set_brake(true, reason, dry_run).await,
        BrakeCommand::Off { reason, dry_run } => session.set_brake(false, reason, dry_run).await,
        BrakeCommand::Status => {
            let request = within(v1::GetBrakeRequest {}, session.timeout);
            let brake = convert::brake(session.client.fleet.get_brake(request).await?.into_inner());
            let text = session.brake_text(&brake);
            session
                .output
                .one(&brake, if brake.on { "on" } else { "off" }, || text)
        }
    }
}

impl Session {
    async fn set_brake(&mut self, on: bool, reason: String, dry_run: bool) -> Outcome {
        let request = within(
            v1::SetBrakeRequest {
                on,
                reason,
                dry_run,
            },
            self.timeout,
        );
        let response = self.client.fleet.set_brake(request).await?.into_inner();
        let workflows = response
            .workflows
            .iter()
            .map(|count| (convert::state(count.state()).as_str(), count.count))
            .collect();
        let report = Report {
            brake: convert::brake(response.brake.unwrap_or_default()),
            workflows,
        };
        let text = self.brake_text(&report.brake);
        let counts: Vec<String> = report
            .workflows
            .iter()
            .map(|(state, n)| format!("{n} {state}"))
            .collect();
        self.output
            .one(&report, if report.brake.on { "on" } else { "off" }, || {
                if counts.is_empty() {
                    text
                } else {
                    format!("{text}\nopen workflows: {}", counts.join(", "))
                }
            })
    }

    fn brake_text(&self, brake: &view::Brake) -> String {
        let runs = match (brake.running, brake.exempt) {
            (0, _) => "nothing runs".to_owned(),
            (running, 0) => format!("{running} attempts still run"),
            (running, exempt) => format!(
                "{running} attempts still run, {exempt} of them guards, compensations or critical spans, which go on"
            ),
        };
        if !brake.on {
            return format!("the brake is off; {runs}");
        }
        let reason = if brake.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", brake.reason)
        };
        format!(
            "the brake is on since {} by {}{reason}; {runs}",
            self.output.time(brake.since),
            brake.actor
        )
    }
}
