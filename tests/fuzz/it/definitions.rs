//! Definitions: whatever the text, an answer, and every problem at a place inside it.

use std::sync::Arc;

use bolero::{TypeGenerator, check};
use drover_core::{
    definition::{Definition, Kinds},
    query::Query,
    yaml::Problem,
};
use drover_fuzz::bench;
use serde_json::json;

fn kinds() -> Kinds {
    bench::kinds()
        .into_iter()
        .map(|declaration| (declaration.kind.clone(), Arc::new(declaration)))
        .collect()
}

/// A place is known, lies on a line of the text, and at most one column behind its end.
fn check_places(text: &str, problems: &[Problem]) {
    // YAML ends a line with either, or with both.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in problems {
        let (line, column) = (
            problem.position.line as usize,
            problem.position.column as usize,
        );
        let length = line
            .checked_sub(1)
            .and_then(|index| lines.get(index))
            .map(|line| line.chars().count());
        assert!(
            length.is_some_and(|length| (1..=length + 1).contains(&column)),
            "{problem} is not inside of {text:?}"
        );
    }
}

fn validate(text: &str) {
    match Definition::parse(text) {
        Ok(definition) => check_places(text, &definition.validate(&kinds())),
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal says why");
            check_places(text, &problems);
        }
    }
}

#[test]
fn any_text_gets_an_answer() {
    check!()
        .with_type::<Vec<u8>>()
        .with_iterations(2000)
        .with_max_len(512)
        .for_each(|bytes| validate(&String::from_utf8_lossy(bytes)));
}

/// A change to a sound definition.
#[derive(Clone, Debug, TypeGenerator)]
enum Edit {
    /// A line goes.
    Drop(u8),
    /// A line comes again.
    Repeat(u8),
    /// Two lines change places.
    Swap(u8, u8),
    /// A line moves to the right, or to the left.
    Indent(u8, i8),
    /// A word is put in.
    Insert(u8, u8, u8),
}

/// Words that mean something somewhere.
const WORDS: [&str; 24] = [
    "needs: [a]",
    "needs: [nobody]",
    "when: \"input.x == 1\"",
    "with: { x: \"${steps.a.output.y}\" }",
    "${",
    "}",
    "[",
    "]",
    "{",
    ": ",
    "- ",
    "&a",
    "*a",
    "<<: *a",
    "!!binary",
    "|",
    "\"",
    "'",
    "\t",
    "\u{feff}",
    "é",
    "PT-1S",
    "timer: P99999999999D",
    "1e999",
];

fn edited(edits: &[Edit]) -> String {
    let mut lines: Vec<String> = bench::DEFINITION.lines().map(ToOwned::to_owned).collect();
    for edit in edits {
        let count = lines.len();
        if count == 0 {
            break;
        }
        let index = |n: u8| usize::from(n) % count;
        match *edit {
            Edit::Drop(n) => drop(lines.remove(index(n))),
            Edit::Repeat(n) => lines.insert(index(n), lines[index(n)].clone()),
            Edit::Swap(a, b) => lines.swap(index(a), index(b)),
            Edit::Indent(n, by) => {
                let line = &mut lines[index(n)];
                let spaces = usize::from(by.unsigned_abs() % 5);
                *line = if by > 0 {
                    format!("{}{line}", " ".repeat(spaces))
                } else {
                    line.chars().skip(spaces).collect()
                };
            }
            Edit::Insert(n, at, word) => {
                let line = &mut lines[index(n)];
                let at = usize::from(at) % (line.chars().count() + 1);
                let at = line.char_indices().nth(at).map_or(line.len(), |(at, _)| at);
                line.insert_str(at, WORDS[usize::from(word) % WORDS.len()]);
            }
        }
    }
    lines.join("\n")
}

#[test]
fn a_definition_with_mistakes_gets_them_told_where_they_are() {
    check!()
        .with_type::<Vec<Edit>>()
        .with_iterations(1500)
        .with_max_len(64)
        .for_each(|edits| validate(&edited(edits)));
}

#[test]
fn any_query_gets_an_answer() {
    check!()
        .with_type::<Vec<u8>>()
        .with_iterations(1500)
        .with_max_len(128)
        .for_each(|bytes| {
            let object = json!({ "id": "m1", "state": "Running", "steps": [{ "id": "a" }] });
            if let Ok(query) = Query::compile(&String::from_utf8_lossy(bytes)) {
                // It may have no value for the object.
                drop(query.matches(&object));
            }
        });
}
