//! A workflow that moves: redrawn in place on a terminal, one line per change elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use drover_core::{
    time::Timestamp,
    view::{self, StepState},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use owo_colors::OwoColorize as _;

use crate::{
    args::Format,
    commands::workflow::progress,
    failure::Outcome,
    output::{compact, span, step_color, step_state, workflow_state},
};

/// Clears the screen for another look, when there is one.
pub(crate) fn clear() {
    if std::io::stdout().is_terminal() {
        drop(write!(std::io::stdout(), "\x1b[2J\x1b[H"));
    }
}

/// Shows a workflow again and again.
pub(crate) struct Live {
    format: Format,
    screen: Option<Screen>,
    shown: BTreeMap<String, (StepState, u32)>,
    state: Option<view::WorkflowState>,
    holds: Vec<String>,
}

struct Screen {
    bars: MultiProgress,
    steps: BTreeMap<String, ProgressBar>,
    head: ProgressBar,
    foot: ProgressBar,
}

impl Live {
    pub(crate) fn new(format: Format) -> Self {
        let fancy =
            matches!(format, Format::Table | Format::Wide) && std::io::stdout().is_terminal();
        let screen = fancy.then(|| {
            let bars =
                MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::stdout_with_hz(10));
            let plain = ProgressStyle::with_template("{msg}").expect("the template is sound");
            let head = bars.add(ProgressBar::new_spinner().with_style(plain.clone()));
            let foot = bars.add(ProgressBar::new_spinner().with_style(plain));
            Screen {
                bars,
                steps: BTreeMap::new(),
                head,
                foot,
            }
        });
        Self {
            format,
            screen,
            shown: BTreeMap::new(),
            state: None,
            holds: Vec::new(),
        }
    }

    /// Shows how it is now.
    pub(crate) fn show(&mut self, workflow: &view::Workflow) -> Outcome {
        match (self.format, &mut self.screen) {
            (Format::Json | Format::Jsonl, _) => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{}", compact(workflow))?;
                Ok(out.flush()?)
            }
            (_, Some(screen)) => {
                screen.draw(workflow);
                Ok(())
            }
            (_, None) => self.print_changes(workflow),
        }
    }

    /// Leaves the last picture on the screen.
    pub(crate) fn end(&mut self) {
        if let Some(screen) = &self.screen {
            for bar in screen.steps.values().chain([&screen.head, &screen.foot]) {
                bar.abandon();
            }
        }
    }

    fn print_changes(&mut self, workflow: &view::Workflow) -> Outcome {
        let mut out = anstream::stdout();
        for step in workflow.steps.iter().chain(&workflow.guards) {
            let now = (step.state, step.attempt);
            if step.state != StepState::Blocked && self.shown.get(&step.id) != Some(&now) {
                self.shown.insert(step.id.clone(), now);
                writeln!(out, "{:<34} {}", step.id, detail(step))?;
            }
        }
        let holds: Vec<String> = workflow
            .holds
            .iter()
            .map(|hold| format!("held: {} — {}", hold.message, hold.unblock))
            .collect();
        for hold in holds.iter().filter(|hold| !self.holds.contains(hold)) {
            writeln!(out, "{hold}")?;
        }
        self.holds = holds;
        if self.state != Some(workflow.state) {
            self.state = Some(workflow.state);
            writeln!(
                out,
                "{:<34} {}",
                workflow.id,
                workflow_state(workflow.state)
            )?;
        }
        Ok(out.flush()?)
    }
}

/// State, attempt and what it says, in one line.
fn detail(step: &view::Step) -> String {
    let attempt = if step.attempt > 1 {
        format!(" attempt {}", step.attempt)
    } else {
        String::new()
    };
    let said = progress(step);
    let said = if said.is_empty() {
        said
    } else {
        format!(" {said}")
    };
    format!("{}{attempt}{said}", step_state(step.state))
}

impl Screen {
    fn draw(&mut self, workflow: &view::Workflow) {
        let now = newest(workflow);
        let began = workflow.created_at.unwrap_or_default();
        let elapsed = workflow
            .ended_at
            .or(now)
            .map_or(Duration::ZERO, |at| at.since(began));
        self.head.set_message(format!(
            "{} {}  {} of {}  {}",
            workflow.id.bold(),
            workflow_state(workflow.state),
            workflow.cluster,
            workflow.installation,
            span(elapsed).dimmed(),
        ));
        let all = workflow.steps.iter().chain(&workflow.guards);
        for step in all {
            let bar = self.steps.entry(step.id.clone()).or_insert_with(|| {
                self.bars
                    .insert_before(&self.foot, ProgressBar::new_spinner())
            });
            bar.set_style(style(step.state));
            if runs(step.state) {
                bar.enable_steady_tick(Duration::from_millis(120));
            } else {
                bar.disable_steady_tick();
            }
            bar.set_message(line(
                step,
                workflow.guards.iter().any(|guard| guard.id == step.id),
            ));
        }
        let holds: Vec<String> = workflow
            .holds
            .iter()
            .take(3)
            .map(|hold| {
                format!(
                    "{} {}\n  to go on: {}",
                    "held".yellow(),
                    hold.message,
                    hold.unblock
                )
            })
            .collect();
        self.foot.set_message(holds.join("\n"));
    }
}

fn runs(state: StepState) -> bool {
    matches!(
        state,
        StepState::Running | StepState::Observing | StepState::Compensating
    )
}

fn style(state: StepState) -> ProgressStyle {
    let template = if runs(state) {
        "  {spinner:.cyan} {wide_msg}"
    } else {
        "  {wide_msg}"
    };
    ProgressStyle::with_template(template)
        .expect("the template is sound")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

fn line(step: &view::Step, is_guard: bool) -> String {
    let mark = match step.state {
        StepState::Succeeded => "✓ ",
        StepState::Paused | StepState::Failed | StepState::Stuck => "✗ ",
        StepState::Waiting | StepState::Backoff => "… ",
        StepState::Compensated | StepState::Kept => "↩ ",
        StepState::Skipped | StepState::Cancelled => "- ",
        StepState::Running | StepState::Observing | StepState::Compensating => "",
        StepState::Blocked | StepState::Ready | StepState::Offered => "· ",
    };
    let name = if is_guard {
        format!("{} (guard)", step.id)
    } else {
        step.id.clone()
    };
    let took = match (step.started_at, step.ended_at) {
        (Some(started), Some(ended)) => span(ended.since(started)),
        _ => String::new(),
    };
    let attempt = if step.attempt > 1 {
        format!("attempt {} ", step.attempt)
    } else {
        String::new()
    };
    let state = if step.state == StepState::Succeeded {
        took
    } else {
        step.state.to_string()
    };
    format!(
        "{}{:<34} {:<12} {attempt}{}",
        mark.color(step_color(step.state)),
        name,
        state.color(step_color(step.state)).to_string(),
        progress(step).dimmed()
    )
}

/// The newest time that the workflow knows of.
fn newest(workflow: &view::Workflow) -> Option<Timestamp> {
    let times = workflow
        .steps
        .iter()
        .chain(&workflow.guards)
        .flat_map(|step| {
            [
                step.scheduled_at,
                step.started_at,
                step.ended_at,
                step.progress.as_ref().and_then(|progress| progress.at),
            ]
        });
    times.flatten().max()
}
