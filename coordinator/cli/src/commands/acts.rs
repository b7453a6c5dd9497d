//! What people do to workflows: to one, or to a confirmed list.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use drover_core::view::{self, StepState};
use drover_proto::v1;

use super::{Session, name_and_version, workflow::COLUMNS};
use crate::{
    args::{Format, GateArgs, ReplanArgs, StepArgs, Target, WorkflowCommand},
    client::within,
    convert,
    failure::{Exit, Failure, Outcome},
    files,
    output::{say, workflow_state},
};

/// What is done to each workflow.
enum Act {
    Pause,
    Resume,
    Cancel,
    Terminate,
    Retry {
        step: String,
        params: Option<v1::Json>,
    },
    Skip {
        step: String,
        output: Option<v1::Json>,
    },
    Decide {
        gate: Option<String>,
        evidence: String,
        approve: bool,
    },
    Replan {
        definition: String,
        version: u32,
    },
}

impl Act {
    fn word(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
            Self::Retry { .. } => "retry",
            Self::Skip { .. } => "skip",
            Self::Decide { approve: true, .. } => "approve",
            Self::Decide { approve: false, .. } => "reject",
            Self::Replan { .. } => "replan",
        }
    }
}

/// What was done, or would be; of a re-plan the coordinator says itself which.
fn told(act: &Act, target: &Target, message: &str) -> String {
    let would = target.dry_run && !matches!(act, Act::Replan { .. });
    let would = if would { "would be " } else { "" };
    format!("{would}{message}")
}

impl Session {
    /// Carries out a command that acts on workflows.
    pub(super) async fn act(&mut self, command: WorkflowCommand) -> Outcome {
        let (id, act, target) = match command {
            WorkflowCommand::Pause(args) => (args.id, Act::Pause, args.target),
            WorkflowCommand::Resume(args) => (args.id, Act::Resume, args.target),
            WorkflowCommand::Cancel(args) => (args.id, Act::Cancel, args.target),
            WorkflowCommand::Terminate(args) => {
                if !args.target.yes && !args.target.dry_run {
                    return Err(Failure::usage(
                        "terminate ends the workflow as it stands and takes nothing back: add --yes, and a --reason",
                    ));
                }
                (args.id, Act::Terminate, args.target)
            }
            WorkflowCommand::Retry { step, params } => {
                let (id, name) = step_names(&step)?;
                let params = params.as_deref().map(file_json).transpose()?;
                (id, Act::Retry { step: name, params }, step.target)
            }
            WorkflowCommand::Skip { step, output_file } => {
                let (id, name) = step_names(&step)?;
                let output = output_file.as_deref().map(file_json).transpose()?;
                (id, Act::Skip { step: name, output }, step.target)
            }
            WorkflowCommand::Approve(args) => decision(args, true)?,
            WorkflowCommand::Reject(args) => decision(args, false)?,
            WorkflowCommand::Replan(args) => replan(args)?,
            WorkflowCommand::Start(_)
            | WorkflowCommand::List(_)
            | WorkflowCommand::Describe { .. }
            | WorkflowCommand::History { .. }
            | WorkflowCommand::Watch { .. }
            | WorkflowCommand::Wait { .. }
            | WorkflowCommand::Output { .. } => unreachable!("the caller runs these"),
        };
        match (id, &target.query) {
            (Some(id), None) => self.act_on_one(&id, &act, &target).await,
            (None, Some(query)) => {
                let query = query.clone();
                self.act_on_list(&query, &act, &target).await
            }
            _ => Err(Failure::usage("name one workflow, or many with --query")),
        }
    }

    async fn act_on_one(&mut self, id: &str, act: &Act, target: &Target) -> Outcome {
        if let Act::Replan {
            definition,
            version,
        } = act
        {
            let diff = self.compare(id, definition, *version).await?;
            say(&diff.text());
            if !diff.problems.is_empty() {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("{id} cannot go on by it: {}", diff.problems.join("; ")),
                ));
            }
            if !target.dry_run && !target.yes {
                confirm(&format!("replan {id}?"))?;
            }
        }
        let (workflow, message) = self.send(id, act, target).await?;
        self.output.one(&workflow, &workflow.id, || {
            format!("{}: {}", workflow.id, told(act, target, &message))
        })
    }

    /// Shows and counts what matches, asks, and acts on exactly that list.
    async fn act_on_list(&mut self, query: &str, act: &Act, target: &Target) -> Outcome {
        let matching = self.matching(query).await?;
        if matching.is_empty() {
            return Err(Failure::new(
                Exit::NotFound,
                format!("no workflow matches {query:?}"),
            ));
        }
        let n = matching.len();
        for workflow in &matching {
            say(&format!(
                "{:<24} {:<12} {}",
                workflow.id,
                workflow_state(workflow.state),
                workflow.current.join(",")
            ));
        }
        if let Act::Replan {
            definition,
            version,
        } = act
        {
            self.compare_all(&matching, definition, *version).await?;
        }
        if !target.dry_run && !target.yes {
            confirm(&format!("{} these {n} workflows?", act.word()))?;
        }
        let mut done = Vec::new();
        let mut refused: Option<Failure> = None;
        for workflow in &matching {
            match self.send(&workflow.id, act, target).await {
                Ok((workflow, message)) => {
                    if matches!(self.output.format, Format::Table | Format::Wide) {
                        let told = told(act, target, &message);
                        self.output.text(&format!("{}: {told}", workflow.id))?;
                    }
                    done.push(workflow);
                }
                // The others are no less wanted.
                Err(failure) => {
                    say(&format!("{}: {}", workflow.id, failure.message));
                    refused.get_or_insert(failure);
                }
            }
        }
        if !matches!(self.output.format, Format::Table | Format::Wide) {
            self.output.list(
                &done,
                |workflow| workflow.id.clone(),
                &COLUMNS,
                |workflow| self.row(workflow),
            )?;
        }
        match refused {
            None => Ok(()),
            Some(first) => Err(Failure::new(
                first.exit,
                format!("{} of {n} were not carried out", n - done.len()),
            )),
        }
    }

    /// All workflows that match, every page of them.
    async fn matching(&mut self, query: &str) -> Outcome<Vec<view::Workflow>> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListWorkflowsRequest {
                query: query.to_owned(),
                limit: 0,
                page_token,
            };
            let page = self
                .client
                .workflows
                .list_workflows(within(request, self.timeout))
                .await?
                .into_inner();
            all.extend(page.workflows.into_iter().map(convert::workflow));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn send(
        &mut self,
        id: &str,
        act: &Act,
        target: &Target,
    ) -> Outcome<(view::Workflow, String)> {
        let (id, reason, dry_run) = (id.to_owned(), target.reason.clone(), target.dry_run);
        let simple = v1::ActRequest {
            id: id.clone(),
            reason: reason.clone(),
            dry_run,
        };
        let simple = within(simple, self.timeout);
        let timeout = self.timeout;
        let response = match act {
            Act::Pause => self.client.workflows.pause_workflow(simple).await?,
            Act::Resume => self.client.workflows.resume_workflow(simple).await?,
            Act::Cancel => self.client.workflows.cancel_workflow(simple).await?,
            Act::Terminate => self.client.workflows.terminate_workflow(simple).await?,
            Act::Retry { step, params } => {
                let request = v1::RetryStepRequest {
                    id,
                    step: step.clone(),
                    params: params.clone(),
                    reason,
                    dry_run,
                };
                let request = within(request, timeout);
                self.client.workflows.retry_step(request).await?
            }
            Act::Skip { step, output } => {
                let request = v1::SkipStepRequest {
                    id,
                    step: step.clone(),
                    output: output.clone(),
                    reason,
                    dry_run,
                };
                let request = within(request, timeout);
                self.client.workflows.skip_step(request).await?
            }
            Act::Decide {
                gate,
                evidence,
                approve,
            } => {
                let step = match gate {
                    Some(gate) => gate.clone(),
                    None => self.waiting_gate(&id).await?,
                };
                let request = v1::GateRequest {
                    id,
                    step,
                    reason,
                    evidence: evidence.clone(),
                    dry_run,
                };
                let request = within(request, timeout);
                if *approve {
                    self.client.workflows.approve_gate(request).await?
                } else {
                    self.client.workflows.reject_gate(request).await?
                }
            }
            Act::Replan {
                definition,
                version,
            } => {
                let request = v1::ReplanRequest {
                    id,
                    definition: definition.clone(),
                    version: *version,
                    reason,
                    dry_run,
                };
                let request = within(request, timeout);
                let replanned = self.client.workflows.replan_workflow(request).await?;
                let replanned = replanned.into_inner();
                let workflow = convert::workflow(replanned.workflow.unwrap_or_default());
                return Ok((workflow, replanned.message));
            }
        };
        let response = response.into_inner();
        Ok((
            convert::workflow(response.workflow.unwrap_or_default()),
            response.message,
        ))
    }

    /// The one gate that waits.
    async fn waiting_gate(&mut self, id: &str) -> Outcome<String> {
        let workflow = self.get(id).await?;
        let waiting: Vec<&view::Step> = workflow
            .steps
            .iter()
            .filter(|step| {
                step.kind == "gate" && matches!(step.state, StepState::Waiting | StepState::Paused)
            })
            .collect();
        match waiting.as_slice() {
            [one] => Ok(one.id.clone()),
            [] => Err(Failure::new(
                Exit::Refused,
                format!("no gate of {id} waits for a decision"),
            )),
            many => {
                let ids: Vec<&str> = many.iter().map(|step| step.id.as_str()).collect();
                Err(Failure::usage(format!(
                    "several gates wait: name one of {}",
                    ids.join(", ")
                )))
            }
        }
    }

    /// What another definition would change, and why it may not.
    async fn compare(&mut self, id: &str, definition: &str, version: u32) -> Outcome<Diff> {
        let request = v1::ReplanRequest {
            id: id.to_owned(),
            definition: definition.to_owned(),
            version,
            reason: String::new(),
            dry_run: true,
        };
        let compared = self
            .client
            .workflows
            .replan_workflow(within(request, self.timeout))
            .await?
            .into_inner();
        Ok(Diff {
            changes: compared.changes,
            problems: compared.problems,
        })
    }

    /// The diffs of many workflows, each different one once.
    async fn compare_all(
        &mut self,
        workflows: &[view::Workflow],
        definition: &str,
        version: u32,
    ) -> Outcome {
        let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for workflow in workflows {
            let text = match self.compare(&workflow.id, definition, version).await {
                Ok(diff) => diff.text(),
                Err(failure) => format!("  will be refused: {}", failure.message),
            };
            alike.entry(text).or_default().push(&workflow.id);
        }
        for (text, ids) in alike {
            say(&format!("{} workflows ({}):", ids.len(), brief(&ids)));
            say(&text);
        }
        Ok(())
    }
}

/// A diff for people.
struct Diff {
    changes: Vec<v1::StepChange>,
    problems: Vec<String>,
}

impl Diff {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .changes
            .iter()
            .map(|change| {
                let sign = match change.change.as_str() {
                    "added" => '+',
                    "removed" => '-',
                    _ => '~',
                };
                let effect = if change.effect.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", change.effect)
                };
                format!(
                    "  {sign} {}  {}{effect}",
                    change.step,
                    change.aspects.join(", ")
                )
            })
            .collect();
        if lines.is_empty() {
            lines.push("  no step changes".to_owned());
        }
        lines.extend(
            self.problems
                .iter()
                .map(|problem| format!("  refused: {problem}")),
        );
        lines.join("\n")
    }
}

/// The first few of many.
fn brief(ids: &[&str]) -> String {
    match ids {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third}, …")
        }
        few => few.join(", "),
    }
}

/// `ID STEP`, or `STEP` with a query.
fn step_names(args: &StepArgs) -> Outcome<(Option<String>, String)> {
    match (args.names.as_slice(), &args.target.query) {
        ([id, step], None) => Ok((Some(id.clone()), step.clone())),
        ([step], Some(_)) => Ok((None, step.clone())),
        (_, None) => Err(Failure::usage("name the workflow and the step: ID STEP")),
        (_, Some(_)) => Err(Failure::usage("with --query name the step only")),
    }
}

fn decision(args: GateArgs, approve: bool) -> Outcome<(Option<String>, Act, Target)> {
    let (id, gate) = match (args.names.as_slice(), &args.target.query) {
        ([id], None) => (Some(id.clone()), None),
        ([id, gate], None) => (Some(id.clone()), Some(gate.clone())),
        ([], Some(_)) => (None, None),
        ([gate], Some(_)) => (None, Some(gate.clone())),
        (_, None) => return Err(Failure::usage("name the workflow: ID [GATE]")),
        (_, Some(_)) => return Err(Failure::usage("with --query name the gate only")),
    };
    let act = Act::Decide {
        gate,
        evidence: args.evidence,
        approve,
    };
    Ok((id, act, args.target))
}

fn replan(args: ReplanArgs) -> Outcome<(Option<String>, Act, Target)> {
    let (definition, version) = match &args.definition {
        Some(definition) => name_and_version(definition)?,
        None => (String::new(), 0),
    };
    let act = Act::Replan {
        definition,
        version,
    };
    Ok((args.id, act, args.target))
}

fn file_json(path: &Path) -> Outcome<v1::Json> {
    let value = files::read_value(path)?;
    Ok(v1::Json {
        text: serde_json::to_vec(&value).expect("JSON values serialize"),
    })
}

/// Asks on the terminal; without one nobody can answer.
fn confirm(question: &str) -> Outcome {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{question} nobody can answer here: add --yes"
        )));
    }
    let mut err = anstream::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Refused,
            "nothing was changed".to_owned(),
        ))
    }
}
