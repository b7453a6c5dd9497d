//! Lines at the bottom of a terminal that are drawn again and again where they are.
//!
//! What is said meanwhile goes above them. Nothing is taken from the terminal: when the program dies, the last picture stays.

use std::{fmt::Write as _, io};

use anstream::ColorChoice;
use console::{Term, strip_ansi_codes, truncate_str};

/// The lines of one terminal.
pub(super) struct Frame {
    term: Term,
    colored: bool,
    drawn: usize,
}

/// Lines and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) lines: usize,
    pub(super) columns: usize,
}

impl Frame {
    /// On stdout; `None` when that is no terminal.
    pub(super) fn on_stdout() -> Option<Self> {
        let term = Term::stdout();
        let choice = anstream::stdout().current_choice();
        term.is_term().then_some(Self {
            term,
            colored: choice != ColorChoice::Never,
            drawn: 0,
        })
    }

    /// How much can be drawn: one line stays for the cursor.
    pub(super) fn size(&self) -> Size {
        let (lines, columns) = self.term.size();
        Size {
            lines: usize::from(lines).saturating_sub(1),
            columns: usize::from(columns),
        }
    }

    /// Draws the lines in the place of the last ones. What does not fit is cut off.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let size = self.size();
        let lines = &lines[..lines.len().min(size.lines)];
        let text = self.picture(lines, size);
        self.drawn = lines.len();
        self.term.write_str(&text)
    }

    /// Says something above the lines, which are to be drawn again.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        let mut out = self.back();
        out.push_str("\x1b[J");
        out.push_str(&self.shown(text.trim_end()));
        out.push('\n');
        self.drawn = 0;
        self.term.write_str(&out)
    }

    /// To the first of the drawn lines.
    fn back(&self) -> String {
        match self.drawn {
            0 => "\r".to_owned(),
            drawn => format!("\r\x1b[{drawn}A"),
        }
    }

    fn picture(&self, lines: &[String], size: Size) -> String {
        let mut out = self.back();
        for line in lines {
            let line = truncate_str(line, size.columns.saturating_sub(1), "…");
            writeln!(out, "{}\x1b[K", self.shown(&line)).expect("a string takes everything");
        }
        // What was longer before.
        out.push_str("\x1b[J");
        out
    }

    fn shown(&self, text: &str) -> String {
        if self.colored {
            format!("{text}\x1b[0m")
        } else {
            strip_ansi_codes(text).into_owned()
        }
    }
}
