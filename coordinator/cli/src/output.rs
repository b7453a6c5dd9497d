//! What is printed, in every format.

use std::{io::Write as _, time::Duration};

use comfy_table::{ContentArrangement, Table, TableStyle};
use drover_core::{
    time::Timestamp,
    view::{StepState, WorkerState, WorkflowState},
};
use owo_colors::{AnsiColors, OwoColorize as _};
use serde::Serialize;

use crate::{
    args::{Format, Global, TimeStyle},
    failure::Outcome,
};

/// Where results go, and how.
pub(crate) struct Output {
    pub(crate) format: Format,
    headers: bool,
    times: TimeStyle,
    /// The coordinator's domain time: ages are counted from it.
    pub(crate) now: Timestamp,
}

/// A row of a table: what every table shows, and what `wide` adds.
pub(crate) struct Row {
    pub(crate) narrow: Vec<String>,
    pub(crate) wide: Vec<String>,
}

/// The columns of a table.
pub(crate) struct Columns {
    pub(crate) narrow: &'static [&'static str],
    pub(crate) wide: &'static [&'static str],
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            format: global.output,
            headers: !global.no_headers,
            times: global.time,
            now: Timestamp::default(),
        }
    }

    /// Prints a text as it is.
    pub(crate) fn text(&self, text: &str) -> Outcome {
        let mut out = anstream::stdout();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// Prints bytes as they are, colours or not.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Outcome {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// Prints many things.
    pub(crate) fn list<T: Serialize>(
        &self,
        items: &[T],
        name: impl Fn(&T) -> String,
        columns: &Columns,
        row: impl Fn(&T) -> Row,
    ) -> Outcome {
        match self.format {
            Format::Json => self.text(&pretty(&items)),
            Format::Jsonl => {
                let lines: Vec<String> = items.iter().map(compact).collect();
                if lines.is_empty() {
                    Ok(())
                } else {
                    self.text(&lines.join("\n"))
                }
            }
            Format::Yaml => self.text(&yaml(&items)),
            Format::Name => {
                let names: Vec<String> = items.iter().map(name).collect();
                if names.is_empty() {
                    Ok(())
                } else {
                    self.text(&names.join("\n"))
                }
            }
            Format::Table | Format::Wide => {
                let rows = items.iter().map(row).collect();
                self.text(&self.table(columns, rows))
            }
        }
    }

    /// Prints one thing; `text` is what people see.
    pub(crate) fn one<T: Serialize>(
        &self,
        item: &T,
        name: &str,
        text: impl FnOnce() -> String,
    ) -> Outcome {
        match self.format {
            Format::Json => self.text(&pretty(item)),
            Format::Jsonl => self.text(&compact(item)),
            Format::Yaml => self.text(&yaml(item)),
            Format::Name => self.text(name),
            Format::Table | Format::Wide => self.text(&text()),
        }
    }

    /// A table as text.
    pub(crate) fn table(&self, columns: &Columns, rows: Vec<Row>) -> String {
        let wide = self.format == Format::Wide;
        let mut table = Table::new();
        table
            .load_style(TableStyle::new())
            .set_content_arrangement(ContentArrangement::Disabled);
        if self.headers {
            let mut header: Vec<&str> = columns.narrow.to_vec();
            if wide {
                header.extend(columns.wide);
            }
            table.set_header(header);
        }
        for row in rows {
            let mut cells = row.narrow;
            if wide {
                cells.extend(row.wide);
            }
            table.add_row(cells);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// A time in a table.
    pub(crate) fn time(&self, time: Option<Timestamp>) -> String {
        match (time, self.times) {
            (None, _) => "-".to_owned(),
            (Some(time), TimeStyle::Iso) => time.to_string(),
            (Some(time), TimeStyle::Relative) if time > self.now => {
                format!("in {}", span(time.since(self.now)))
            }
            (Some(time), TimeStyle::Relative) => format!("{} ago", span(self.now.since(time))),
        }
    }
}

/// A duration for people: its two largest units.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0s".to_owned(),
        0..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

pub(crate) fn pretty<T: Serialize>(item: &T) -> String {
    serde_json::to_string_pretty(item).expect("views serialize")
}

pub(crate) fn compact<T: Serialize>(item: &T) -> String {
    serde_json::to_string(item).expect("views serialize")
}

fn yaml<T: Serialize>(item: &T) -> String {
    serde_saphyr::to_string(item).expect("views serialize")
}

/// A state in its colour.
pub(crate) fn workflow_state(state: WorkflowState) -> String {
    let color = match state {
        WorkflowState::Completed => AnsiColors::Green,
        WorkflowState::Running | WorkflowState::Pending => AnsiColors::Cyan,
        WorkflowState::Paused | WorkflowState::Waiting | WorkflowState::Unwinding => {
            AnsiColors::Yellow
        }
        WorkflowState::Stuck | WorkflowState::Quarantined | WorkflowState::Terminated => {
            AnsiColors::Red
        }
        WorkflowState::RolledBack | WorkflowState::Cancelled | WorkflowState::Removed => {
            AnsiColors::Magenta
        }
    };
    state.as_str().color(color).to_string()
}

/// The colour of a step's state.
pub(crate) fn step_color(state: StepState) -> AnsiColors {
    match state {
        StepState::Succeeded => AnsiColors::Green,
        StepState::Running | StepState::Observing | StepState::Offered | StepState::Ready => {
            AnsiColors::Cyan
        }
        StepState::Waiting | StepState::Backoff | StepState::Compensating => AnsiColors::Yellow,
        StepState::Paused | StepState::Failed | StepState::Stuck => AnsiColors::Red,
        StepState::Blocked | StepState::Skipped | StepState::Cancelled => AnsiColors::BrightBlack,
        StepState::Compensated | StepState::Kept => AnsiColors::Magenta,
    }
}

/// A step's state in its colour.
pub(crate) fn step_state(state: StepState) -> String {
    state.as_str().color(step_color(state)).to_string()
}

/// A worker's state in its colour.
pub(crate) fn worker_state(state: WorkerState) -> String {
    let color = match state {
        WorkerState::Connected => AnsiColors::Green,
        WorkerState::Suspect | WorkerState::Draining => AnsiColors::Yellow,
        WorkerState::Offline | WorkerState::Dead => AnsiColors::Red,
    };
    state.as_str().color(color).to_string()
}

/// Tells a person something that is no result.
pub(crate) fn say(text: &str) {
    // Without stderr there is nobody to tell.
    drop(writeln!(anstream::stderr(), "{}", text.trim_end()));
}
