//! `drover workflow`.

use std::time::Duration;

use drover_core::view::{self, StepState, WorkflowState};
use drover_proto::v1;
use owo_colors::OwoColorize as _;
use serde_json::{Map, Value};

use super::{LOOK_AGAIN, Session, name_and_version};
use crate::{
    args::{Format, Global, ListArgs, StartArgs, WorkflowCommand},
    client::within,
    convert,
    failure::{Exit, Failure, Outcome},
    files, live,
    output::{Columns, Row, say, span, step_state, workflow_state},
};

pub(crate) async fn run(command: WorkflowCommand, global: &Global) -> Outcome {
    let mut session = Session::open(global).await?;
    match command {
        WorkflowCommand::Start(args) => session.start(args).await,
        WorkflowCommand::List(args) => session.list(args).await,
        WorkflowCommand::Describe { id } => session.describe(&id).await,
        WorkflowCommand::History { id, follow } => session.history(&id, follow).await,
        WorkflowCommand::Output { id, step } => session.step_output(id, step).await,
        WorkflowCommand::Watch { id } => session.watch(&id).await,
        WorkflowCommand::Wait { id, states } => session.wait(&id, &states, global.timeout).await,
        act => session.act(act).await,
    }
}

pub(super) const COLUMNS: Columns = Columns {
    narrow: &[
        "ID",
        "STATE",
        "CLUSTER",
        "INSTALLATION",
        "CURRENT",
        "AGE",
        "HELD BY",
    ],
    wide: &["DEFINITION", "REGION", "STARTED", "ENDED", "EVENTS"],
};

const STEP_COLUMNS: Columns = Columns {
    narrow: &[
        "STEP", "STATE", "ATTEMPT", "WORKER", "TOOK", "PROGRESS", "NEXT",
    ],
    wide: &["KIND", "FENCE", "UNDO"],
};

impl Session {
    async fn start(&mut self, args: StartArgs) -> Outcome {
        let (definition, version) = name_and_version(&args.definition)?;
        let mut input = match &args.input {
            Some(path) => files::read_value(path)?,
            None => Value::Object(Map::new()),
        };
        for pair in &args.set {
            set(&mut input, pair)?;
        }
        let request = v1::StartWorkflowRequest {
            id: args.id,
            definition,
            version,
            input: Some(v1::Json {
                text: serde_json::to_vec(&input).expect("JSON values serialize"),
            }),
            dry_run: args.dry_run,
            reason: args.reason,
        };
        let response = self
            .client
            .workflows
            .start_workflow(within(request, self.timeout))
            .await?
            .into_inner();
        let workflow = convert::workflow(response.workflow.unwrap_or_default());
        let text = match (args.dry_run, response.created) {
            (true, _) => format!(
                "{} would start {}@{} in {}",
                workflow.id,
                workflow.definition.name,
                workflow.definition.version,
                workflow.installation
            ),
            (false, true) => format!(
                "{} started: {}@{} in {}",
                workflow.id,
                workflow.definition.name,
                workflow.definition.version,
                workflow.installation
            ),
            (false, false) => format!(
                "{} was started before; it is {}",
                workflow.id,
                workflow_state(workflow.state)
            ),
        };
        self.output.one(&workflow, &workflow.id, || text)
    }

    async fn list(&mut self, args: ListArgs) -> Outcome {
        loop {
            self.look_at_clock().await?;
            let request = v1::ListWorkflowsRequest {
                query: args.query.clone(),
                limit: args.limit,
                page_token: args.page_token.clone(),
            };
            let page = self
                .client
                .workflows
                .list_workflows(within(request, self.timeout))
                .await?
                .into_inner();
            let workflows: Vec<view::Workflow> =
                page.workflows.into_iter().map(convert::workflow).collect();
            if args.watch && self.output.format == Format::Table {
                live::clear();
            }
            self.output.list(
                &workflows,
                |workflow| workflow.id.clone(),
                &COLUMNS,
                |workflow| self.row(workflow),
            )?;
            if !page.next_page_token.is_empty() {
                say(&format!(
                    "there are more: --page-token {}",
                    page.next_page_token
                ));
            }
            if !args.watch {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) fn row(&self, workflow: &view::Workflow) -> Row {
        let current: Vec<&str> = workflow
            .current
            .iter()
            .filter(|id| workflow.steps.iter().any(|step| step.id == **id))
            .map(String::as_str)
            .collect();
        let hold = workflow
            .holds
            .first()
            .map_or_else(|| "-".to_owned(), |hold| hold.code.clone());
        let dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        Row {
            narrow: vec![
                workflow.id.clone(),
                workflow_state(workflow.state),
                dash(&workflow.cluster),
                dash(&workflow.installation),
                dash(&current.join(",")),
                workflow
                    .created_at
                    .map_or_else(|| "-".to_owned(), |at| span(self.output.now.since(at))),
                hold,
            ],
            wide: vec![
                format!(
                    "{}@{}",
                    workflow.definition.name, workflow.definition.version
                ),
                dash(&workflow.region),
                self.output.time(workflow.started_at),
                self.output.time(workflow.ended_at),
                workflow.head.to_string(),
            ],
        }
    }

    pub(super) async fn get(&mut self, id: &str) -> Outcome<view::Workflow> {
        let request = within(
            v1::DescribeWorkflowRequest { id: id.to_owned() },
            self.timeout,
        );
        Ok(convert::workflow(
            self.client
                .workflows
                .describe_workflow(request)
                .await?
                .into_inner(),
        ))
    }

    async fn describe(&mut self, id: &str) -> Outcome {
        self.look_at_clock().await?;
        let workflow = self.get(id).await?;
        self.output
            .one(&workflow, &workflow.id, || self.description(&workflow))
    }

    fn description(&self, workflow: &view::Workflow) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("{:<14}{value}\n", format!("{name}:")));
            }
        };
        line("Workflow", &workflow.id);
        line("State", &workflow_state(workflow.state));
        line(
            "Definition",
            &format!(
                "{}@{}",
                workflow.definition.name, workflow.definition.version
            ),
        );
        line("Cluster", &workflow.cluster);
        line("Installation", &workflow.installation);
        line("Region", &workflow.region);
        line(
            "Started",
            &self
                .output
                .time(workflow.started_at.or(workflow.created_at)),
        );
        if workflow.ended_at.is_some() {
            line("Ended", &self.output.time(workflow.ended_at));
        }
        if let Some(outcome) = &workflow.outcome {
            line("Outcome", &outcome.message);
        }
        let held = |code: &str| workflow.holds.iter().any(|hold| hold.code == code);
        line(
            "Way back",
            &way_back(
                workflow.pivot_passed,
                held("restored"),
                &workflow.not_looked,
            ),
        );
        line("Trace", &workflow.trace_id);
        text.push('\n');
        let rows = workflow
            .steps
            .iter()
            .map(|step| self.step_row(step))
            .collect();
        text.push_str(&self.output.table(&STEP_COLUMNS, rows));
        if !workflow.guards.is_empty() {
            let guards = Columns {
                narrow: &[
                    "GUARD", "STATE", "ATTEMPT", "WORKER", "TOOK", "PROGRESS", "NEXT",
                ],
                wide: STEP_COLUMNS.wide,
            };
            let rows = workflow
                .guards
                .iter()
                .map(|step| self.step_row(step))
                .collect();
            text.push_str("\n\n");
            text.push_str(&self.output.table(&guards, rows));
        }
        for step in &workflow.steps {
            if let Some(object) = &step.output_object {
                text.push_str(&format!(
                    "\n\n{} has an output of {} bytes ({}): drover workflow output {} {}",
                    step.id, object.size, object.digest, workflow.id, step.id
                ));
            }
        }
        for hold in &workflow.holds {
            let place = if hold.step.is_empty() {
                String::new()
            } else {
                format!("{}: ", hold.step)
            };
            let since = hold.since.map_or_else(String::new, |since| {
                format!(" (for {})", span(self.output.now.since(since)))
            });
            text.push_str(&format!(
                "\n\n{} {place}{}{since} [{}]",
                "held".yellow(),
                hold.message,
                hold.code
            ));
            text.push_str(&format!("\n  to go on: {}", hold.unblock));
        }
        text
    }

    fn step_row(&self, step: &view::Step) -> Row {
        let dash = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        let attempt = if step.attempts_allowed == 0 {
            "-".to_owned()
        } else {
            format!("{}/{}", step.attempt, step.attempts_allowed)
        };
        let took = match (step.started_at, step.ended_at) {
            (Some(started), Some(ended)) => span(ended.since(started)),
            (Some(started), None) => span(self.output.now.since(started)),
            (None, _) => "-".to_owned(),
        };
        let next = step.next.as_ref().map_or_else(String::new, |next| {
            format!("{} {}", next.what, self.output.time(Some(next.at)))
        });
        let undo = step
            .compensation
            .as_ref()
            .map_or_else(String::new, |way| format!("{} ({})", way.kind, way.state));
        Row {
            narrow: vec![
                step.id.clone(),
                step_state(step.state),
                attempt,
                dash(step.worker.clone()),
                took,
                dash(progress(step)),
                dash(next),
            ],
            wide: vec![step.kind.clone(), dash(step.fence.clone()), dash(undo)],
        }
    }

    async fn history(&mut self, id: &str, follow: bool) -> Outcome {
        self.look_at_clock().await?;
        let request = v1::ReadHistoryRequest {
            id: id.to_owned(),
            from_seq: 0,
            follow,
        };
        // Following takes as long as the workflow: no deadline.
        let mut stream = self
            .client
            .workflows
            .read_history(request)
            .await?
            .into_inner();
        let mut all = Vec::new();
        while let Some(chunk) = stream.message().await? {
            match self.output.format {
                Format::Jsonl => self.output.raw(&chunk.lines)?,
                Format::Table | Format::Wide => self.print_history(&chunk.lines)?,
                Format::Json | Format::Yaml | Format::Name => all.extend(chunk.lines),
            }
        }
        match self.output.format {
            Format::Jsonl | Format::Table | Format::Wide => Ok(()),
            Format::Json | Format::Yaml | Format::Name => {
                let events = lines(&all)?;
                self.output.list(
                    &events,
                    |event| event["seq"].to_string(),
                    &COLUMNS,
                    |_| Row {
                        narrow: vec![],
                        wide: vec![],
                    },
                )
            }
        }
    }

    fn print_history(&self, chunk: &[u8]) -> Outcome {
        for event in lines(chunk)? {
            let text = |key: &str| event[key].as_str().unwrap_or("").to_owned();
            let at = drover_core::time::Timestamp::parse(&text("at"));
            let attempt = event["attempt"]
                .as_u64()
                .map_or_else(String::new, |attempt| format!("#{attempt}"));
            let data = match &event["data"] {
                Value::Object(data) => data
                    .iter()
                    .map(|(key, value)| format!("{key}={}", brief(value)))
                    .collect::<Vec<_>>()
                    .join(" "),
                other => other.to_string(),
            };
            self.output.text(&format!(
                "{:>5}  {:<12} {:<24} {:<28} {}{}",
                event["seq"].to_string(),
                self.output.time(at),
                text("type"),
                format!("{} {attempt}", text("step")),
                if text("actor").is_empty() {
                    String::new()
                } else {
                    format!("by {} ", text("actor"))
                },
                data,
            ))?;
        }
        Ok(())
    }

    async fn watch(&mut self, id: &str) -> Outcome {
        let request = v1::WatchWorkflowRequest { id: id.to_owned() };
        let mut stream = self
            .client
            .workflows
            .watch_workflow(request)
            .await?
            .into_inner();
        let mut view = live::Live::new(self.output.format);
        while let Some(workflow) = stream.message().await? {
            let workflow = convert::workflow(workflow);
            view.show(&workflow)?;
            if workflow.state.is_ended() {
                break;
            }
        }
        view.end();
        Ok(())
    }

    async fn wait(
        &mut self,
        id: &str,
        states: &[WorkflowState],
        give_up: Option<Duration>,
    ) -> Outcome {
        let request = v1::WatchWorkflowRequest { id: id.to_owned() };
        let mut stream = self
            .client
            .workflows
            .watch_workflow(request)
            .await?
            .into_inner();
        let mut last = None;
        let waited = async {
            while let Some(workflow) = stream.message().await? {
                let workflow = convert::workflow(workflow);
                let reached = if states.is_empty() {
                    workflow.state.is_ended()
                } else {
                    states.contains(&workflow.state)
                };
                let ended = workflow.state.is_ended();
                last = Some(workflow.state);
                if reached {
                    let workflow = self.get(id).await?;
                    return self.output.one(&workflow, &workflow.id, || {
                        format!("{} is {}", workflow.id, workflow_state(workflow.state))
                    });
                }
                if ended {
                    break;
                }
            }
            let state = last.map_or("gone", WorkflowState::as_str);
            Err(Failure::failed(format!(
                "{id} is {state} and will not get where it was waited for"
            )))
        };
        match give_up {
            None => waited.await,
            Some(limit) => tokio::time::timeout(limit, waited)
                .await
                .unwrap_or_else(|_| {
                    let state = last.map_or("unknown", WorkflowState::as_str);
                    Err(Failure::new(
                        Exit::TimedOut,
                        format!("{id} is {state} after {}", span(limit)),
                    ))
                }),
        }
    }
}

/// What a step says of itself, in one cell.
pub(crate) fn progress(step: &view::Step) -> String {
    match (&step.progress, &step.last_error) {
        (Some(progress), _) if progress.total > 0 => {
            format!("{}/{} {}", progress.done, progress.total, progress.message)
        }
        (Some(progress), _) => progress.message.clone(),
        (None, Some(error)) if !matches!(step.state, StepState::Succeeded) => {
            format!("{}: {}", error.code, error.message)
        }
        (None, _) => String::new(),
    }
}

/// What a cancel would do now.
fn way_back(pivot_passed: bool, restored: bool, not_looked: &str) -> String {
    if pivot_passed {
        "none: the pivot has been passed".to_owned()
    } else if restored {
        "resume it first: what was begun after the backup is not known yet".to_owned()
    } else if not_looked.is_empty() {
        "cancel takes everything back".to_owned()
    } else {
        format!("not yet: whether {not_looked} began or ended after the backup is not known")
    }
}

fn lines(bytes: &[u8]) -> Outcome<Vec<Value>> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line).map_err(|error| {
                Failure::failed(format!("a line of the history is not JSON: {error}"))
            })
        })
        .collect()
}

/// A value in one short piece.
fn brief(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// `key=value`, or `key.key=value`; the value is JSON when it reads as JSON, and text otherwise.
fn set(input: &mut Value, pair: &str) -> Outcome {
    let (path, text) = pair
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("--set {pair:?}: use KEY=VALUE")))?;
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let mut place = input;
    for key in path.split('.') {
        if key.is_empty() {
            return Err(Failure::usage(format!("--set {pair:?}: a key is empty")));
        }
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(entries) = place else {
            return Err(Failure::usage(format!(
                "--set {pair:?}: {path} goes through something that is no mapping"
            )));
        };
        place = entries.entry(key.to_owned()).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_way_back_is_promised_that_would_be_refused() {
        assert!(way_back(true, true, "a").starts_with("none"));
        assert!(way_back(false, true, "a").starts_with("resume it first"));
        assert!(way_back(false, false, "a").starts_with("not yet: whether a "));
        assert!(way_back(false, false, "").starts_with("cancel"));
    }

    #[test]
    fn set_reads_json_and_falls_back_to_text() {
        let mut input = json!({"a": {"x": 1}});
        for pair in ["n=3", "s=hello", "a.y=true", "deep.er.z=[1,2]", "q=\"3\""] {
            set(&mut input, pair).unwrap();
        }
        assert_eq!(
            input,
            json!({"a": {"x": 1, "y": true}, "n": 3, "s": "hello", "deep": {"er": {"z": [1, 2]}}, "q": "3"})
        );
        for bad in ["novalue", "=1", "n.x=1", "a..b=1"] {
            assert!(set(&mut input, bad).is_err(), "{bad}");
        }
    }
}
