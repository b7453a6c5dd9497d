//! What a person sees while a fleet migrates: a picture in place on a terminal, one line a change elsewhere, nothing at all
//! where the result is for a program.

use std::io::Write as _;

use owo_colors::OwoColorize as _;

use super::{
    frame::Frame,
    picture::Picture,
    roster::{Member, Roster, Standing},
};
use crate::{
    args::{Format, Global},
    dev::operator::Work,
    failure::Outcome,
    output::span,
};

/// Where it is shown.
pub(super) enum Show {
    /// In place.
    Terminal(Frame),
    /// One line a change.
    Lines,
    /// The verdict is all.
    Nothing,
}

impl Show {
    pub(super) fn new(global: &Global) -> Self {
        match global.output {
            Format::Table | Format::Wide => Frame::on_stdout().map_or(Self::Lines, Self::Terminal),
            Format::Json | Format::Jsonl | Format::Yaml | Format::Name => Self::Nothing,
        }
    }

    /// Says something that happened to all.
    pub(super) fn say(&mut self, text: &str) -> Outcome {
        match self {
            Self::Terminal(frame) => Ok(frame.say(text)?),
            Self::Lines => line(text),
            Self::Nothing => {
                crate::output::say(text);
                Ok(())
            }
        }
    }

    /// A member stands elsewhere now than `before`. On a terminal only what needs a person is said.
    pub(super) fn changed(
        &mut self,
        member: &Member,
        before: Option<Standing>,
        roster: &Roster,
    ) -> Outcome {
        let now = member.standing();
        let text = about(member, before, roster);
        match (self, now) {
            (Self::Lines, _) => line(&text),
            (Self::Terminal(frame), Standing::Paused | Standing::Refused | Standing::Over) => {
                Ok(frame.say(&text)?)
            }
            (Self::Terminal(_) | Self::Nothing, _) => Ok(()),
        }
    }

    /// The demo's operator did something. A terminal counts it.
    pub(super) fn acted(&mut self, id: &str, work: &Work) -> Outcome {
        match self {
            Self::Lines => line(&format!("{id:<8} the demo {work}")),
            Self::Terminal(_) | Self::Nothing => Ok(()),
        }
    }

    /// Shows how it is now.
    pub(super) fn draw(&mut self, picture: &Picture<'_>) -> Outcome {
        match self {
            Self::Terminal(frame) => {
                let lines = picture.lines(frame.size());
                Ok(frame.draw(&lines)?)
            }
            Self::Lines | Self::Nothing => Ok(()),
        }
    }

    /// Leaves the last picture where it is; what comes goes below.
    pub(super) fn end(&mut self) {
        if let Self::Terminal(_) = self {
            *self = Self::Lines;
        }
    }
}

fn about(member: &Member, before: Option<Standing>, roster: &Roster) -> String {
    let sentence = member.sentence().unwrap_or_default();
    let text = match member.standing() {
        Standing::Migrated => format!(
            "{} {}, {} of {}",
            "migrated".green(),
            took(member),
            roster.count(Standing::Migrated),
            roster.members().len()
        ),
        Standing::Paused => format!(
            "{}: {sentence}; to go on: {}",
            "needs a person".yellow(),
            member.unblock().unwrap_or("describe it")
        ),
        Standing::Refused => format!("{} {sentence}", "refused".yellow()),
        Standing::Over => format!("{} {sentence}", "not migrated".red()),
        Standing::UnderWay if member.helped => format!("held: {sentence}"),
        Standing::UnderWay if before == Some(Standing::Paused) => "goes on".to_owned(),
        Standing::UnderWay | Standing::ToCome => {
            format!("under way in {}", member.installation)
        }
    };
    format!("{:<8} {text}", member.id)
}

fn took(member: &Member) -> String {
    let workflow = member.seen.as_ref();
    let ended = workflow.and_then(|workflow| Some((workflow.created_at?, workflow.ended_at?)));
    ended.map_or_else(String::new, |(from, until)| {
        format!("after {}", span(until.since(from)))
    })
}

fn line(text: &str) -> Outcome {
    let mut out = anstream::stdout();
    writeln!(out, "{}", text.trim_end())?;
    Ok(out.flush()?)
}
