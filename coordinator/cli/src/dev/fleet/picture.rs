//! The fleet in as many lines as a terminal has: counts, a row for each installation, what waits and why.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use console::{Alignment, pad_str};
use drover_core::{
    time::Timestamp,
    view::{self, StepState},
};
use drover_sim::InstallationConfig;
use owo_colors::OwoColorize as _;

use super::{
    frame::Size,
    kills::Done,
    roster::{Member, Roster, Standing},
    verdict::times,
};
use crate::{dev::operator::Deeds, output::span};

/// Width of the bar of progress.
const BAR: usize = 30;

/// Columns in front of the steps of an installation.
const FIXED: usize = 64;

/// How it is now.
pub(super) struct Picture<'f> {
    pub(super) roster: &'f Roster,
    pub(super) installations: &'f [InstallationConfig],
    pub(super) deeds: &'f Deeds,
    pub(super) kills: Done,
    pub(super) address: SocketAddr,
    /// Since the beginning.
    pub(super) real: Duration,
    /// The domain clock.
    pub(super) now: Timestamp,
    /// When the demo ends unless somebody lets a paused one go on.
    pub(super) ends_in: Option<Duration>,
}

impl Picture<'_> {
    /// No more lines than there is room for: installations give way first, then what waits.
    pub(super) fn lines(&self, size: Size) -> Vec<String> {
        let mut lines = vec![String::new(), self.head(), self.counts(), String::new()];
        let end = self.end();
        let room = size.lines.saturating_sub(lines.len() + end.len());
        let waits = self.waits(room / 3);
        lines.extend(self.table(room.saturating_sub(waits.len()), size.columns));
        lines.extend(waits);
        lines.extend(end);
        lines
    }

    fn head(&self) -> String {
        let progress = self.roster.progress();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a small number"
        )]
        let full = (progress * BAR as f64).round() as usize;
        let bar = format!(
            "{}{}",
            "█".repeat(full),
            "░".repeat(BAR.saturating_sub(full))
        );
        let simulated = self
            .roster
            .span(self.now)
            .map_or_else(String::new, |(from, until)| {
                format!(", {} simulated", span(until.since(from)))
            });
        format!(
            "{} {} {:>3.0} %  {}{simulated}",
            "fleet".bold(),
            bar.cyan(),
            progress * 100.0,
            span(self.real)
        )
    }

    fn counts(&self) -> String {
        let all = self.roster.members().len();
        let count = |standing| self.roster.count(standing);
        let mut parts = vec![
            format!("{} of {all} migrated", count(Standing::Migrated))
                .green()
                .to_string(),
            format!("{} under way", count(Standing::UnderWay))
                .cyan()
                .to_string(),
            format!("{} to come", count(Standing::ToCome)),
        ];
        for standing in [Standing::Paused, Standing::Refused, Standing::Over] {
            let n = count(standing);
            if n > 0 {
                parts.push(format!("{n} {}", standing.words()).yellow().to_string());
            }
        }
        if self.kills.strikes > 0 {
            parts.push(format!("killed {}", times(self.kills.strikes)));
        }
        let (approved, retried) = (self.deeds.approved.len(), self.deeds.retried.len());
        if approved + retried > 0 {
            parts.push(format!("the demo approved {approved}, retried {retried}"));
        }
        parts.join("  ")
    }

    /// A row for each installation, those with work first when there is no room for all.
    fn table(&self, room: usize, columns: usize) -> Vec<String> {
        let mut rows: Vec<Row> = self
            .installations
            .iter()
            .map(|installation| Row::of(installation, self.roster))
            .collect();
        let mut lines = vec![
            line(
                [
                    "installation",
                    "",
                    "migrated",
                    "under way",
                    "paused",
                    "now at",
                ],
                columns,
            )
            .dimmed()
            .to_string(),
        ];
        let all = rows.len();
        let more = all + 1 > room;
        if more {
            rows.sort_by_key(|row| std::cmp::Reverse(row.under_way + row.paused));
            rows.truncate(room.saturating_sub(2));
        }
        lines.extend(rows.iter().map(|row| row.line(columns)));
        if more {
            lines.push(
                format!("… and {} more", all - rows.len())
                    .dimmed()
                    .to_string(),
            );
        }
        lines
    }

    /// Counts by reason, then those that need a person.
    fn waits(&self, room: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.roster.standing(Standing::UnderWay) {
            let Some(hold) = member.seen.as_ref().and_then(|seen| seen.holds.first()) else {
                continue;
            };
            *reasons.entry(reason(hold)).or_default() += 1;
        }
        if !reasons.is_empty() {
            let reasons: Vec<String> = reasons
                .into_iter()
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            lines.push(String::new());
            lines.push(
                format!("waits: {}", reasons.join(", "))
                    .dimmed()
                    .to_string(),
            );
        }
        let held: Vec<&Member> = self
            .roster
            .standing(Standing::Paused)
            .chain(self.roster.standing(Standing::Refused))
            .collect();
        if held.is_empty() {
            return lines;
        }
        lines.push(String::new());
        // Two lines each; at least one is shown.
        let fit = (room.saturating_sub(lines.len() + 1) / 2).max(1);
        for member in held.iter().take(fit) {
            lines.push(format!(
                "{} {} in {}: {}",
                "✗".yellow(),
                member.id.bold(),
                member.installation,
                member.sentence().unwrap_or_default()
            ));
            lines.push(format!(
                "    to go on: {}",
                member.unblock().unwrap_or("describe it")
            ));
        }
        if held.len() > fit {
            lines.push(
                format!("  … and {} more", held.len() - fit)
                    .dimmed()
                    .to_string(),
            );
        }
        lines
    }

    fn end(&self) -> Vec<String> {
        let last = match self.ends_in {
            Some(left) => format!(
                "everything else has ended: the report comes in {} s unless somebody lets one go on",
                left.as_secs() + 1
            )
            .yellow()
            .to_string(),
            None => format!(
                "drover --address {} workflow list · watch, pause, resume, cancel ID · Ctrl-C ends it",
                self.address
            )
            .dimmed()
            .to_string(),
        };
        vec![String::new(), last]
    }
}

/// What a hold means where many are counted.
fn reason(hold: &view::Hold) -> &'static str {
    match hold.code.as_str() {
        "backoff" => "between two attempts",
        "gate-waiting" => "for an approval",
        "timer" => "for a timer",
        "no-credit" => "for a free slot of a worker",
        "worker-offline" => "for a worker that is away",
        "guard-not-running" | "guard-not-ended" => "for a guard",
        "brake" => "for the brake",
        "step-paused" => "for a retry",
        "paused" => "paused by a person",
        _ => "for something else",
    }
}

/// One installation.
struct Row {
    name: String,
    region: String,
    migrated: usize,
    all: usize,
    under_way: usize,
    paused: usize,
    /// Steps by how many are at them, most first.
    steps: Vec<(String, usize)>,
}

impl Row {
    fn of(installation: &InstallationConfig, roster: &Roster) -> Self {
        let mut row = Self {
            name: installation.name.clone(),
            region: installation.region.clone(),
            migrated: 0,
            all: 0,
            under_way: 0,
            paused: 0,
            steps: Vec::new(),
        };
        let mut steps: BTreeMap<&str, usize> = BTreeMap::new();
        let here = roster
            .members()
            .iter()
            .filter(|member| member.installation == installation.name);
        for member in here {
            row.all += 1;
            match member.standing() {
                Standing::Migrated => row.migrated += 1,
                Standing::UnderWay => row.under_way += 1,
                Standing::Paused | Standing::Refused => row.paused += 1,
                Standing::ToCome | Standing::Over => {}
            }
            let open = member.seen.iter().flat_map(|seen| &seen.steps);
            for step in open.filter(|step| is_under_way(step.state)) {
                *steps.entry(&step.id).or_default() += 1;
            }
        }
        row.steps = steps
            .into_iter()
            .map(|(step, count)| (step.to_owned(), count))
            .collect();
        row.steps
            .sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        row
    }

    fn line(&self, columns: usize) -> String {
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|(step, count)| match count {
                1 => step.clone(),
                count => format!("{step} {count}"),
            })
            .collect();
        let migrated = format!("{}/{}", self.migrated, self.all);
        let done = self.migrated == self.all;
        let migrated = if done {
            migrated.green().to_string()
        } else {
            migrated
        };
        let some = |count: usize| {
            if count == 0 {
                "-".to_owned()
            } else {
                count.to_string()
            }
        };
        line(
            [
                &self.name,
                &self.region,
                &migrated,
                &some(self.under_way),
                &some(self.paused),
                &steps.join(", "),
            ],
            columns,
        )
    }
}

fn is_under_way(state: StepState) -> bool {
    matches!(
        state,
        StepState::Ready
            | StepState::Offered
            | StepState::Observing
            | StepState::Running
            | StepState::Waiting
            | StepState::Backoff
            | StepState::Paused
            | StepState::Compensating
    )
}

fn line(cells: [&str; 6], columns: usize) -> String {
    let [name, region, migrated, under_way, paused, steps] = cells;
    let pad = |text: &str, width, side| pad_str(text, width, side, Some("…")).into_owned();
    let steps_width = columns.saturating_sub(FIXED + 1);
    format!(
        "{}  {}  {}  {}  {}   {}",
        pad(name, 14, Alignment::Left),
        pad(region, 15, Alignment::Left),
        pad(migrated, 8, Alignment::Right),
        pad(under_way, 9, Alignment::Right),
        pad(paused, 7, Alignment::Right),
        console::truncate_str(steps, steps_width, "…")
    )
}

#[cfg(test)]
mod tests {
    use drover_core::view::WorkflowState;

    use super::{super::roster::tests as some, *};
    use crate::dev::operator::Operator;

    #[test]
    fn it_fits_whatever_the_terminal_and_names_one_that_needs_a_person() {
        let mut roster = some::fleet(40);
        while roster.next(40).is_some() {}
        for n in 0..20 {
            let id = format!("c{n}");
            let held = some::workflow(&id, WorkflowState::Paused, "x", Some("paused"));
            roster.saw(held, &Operator::default());
        }
        let installations = InstallationConfig::several(64);
        for lines in 14..80 {
            let picture = Picture {
                roster: &roster,
                installations: &installations,
                deeds: &Deeds::default(),
                kills: Done::default(),
                address: ([127, 0, 0, 1], 7411).into(),
                real: Duration::from_secs(1),
                now: Timestamp(0),
                ends_in: None,
            };
            let size = Size { lines, columns: 80 };
            let drawn = picture.lines(size);
            assert!(drawn.len() <= lines, "{lines} lines: {drawn:#?}");
            let text = drawn.join("\n");
            assert!(
                text.contains("20 paused") && text.contains("to go on"),
                "{text}"
            );
        }
    }
}
