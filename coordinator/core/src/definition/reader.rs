//! Reads mappings field by field and remembers every problem instead of stopping at the first.

use std::time::Duration;

use crate::{
    time::parse_duration,
    yaml::{Data, Node, Position, Problem},
};

/// A mapping that is being read. Fields that nobody asked for are problems.
pub(super) struct Fields<'a> {
    position: Position,
    what: &'a str,
    entries: Vec<(&'a str, Position, &'a Node)>,
    asked: Vec<&'static str>,
}

/// All problems so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(
        &mut self,
        position: Position,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.0.push(Problem::new(position, code, message));
    }

    /// Keeps the value and remembers the problems.
    pub(super) fn take<T>(&mut self, result: Result<T, Vec<Problem>>) -> Option<T> {
        result.map_err(|problems| self.0.extend(problems)).ok()
    }
}

impl<'a> Fields<'a> {
    /// Begins to read `node`, called `what` in messages.
    pub(super) fn of(node: &'a Node, what: &'a str, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Map(entries) => Some(Self {
                position: node.position,
                what,
                entries: entries
                    .iter()
                    .map(|(key, at, value)| (key.as_str(), *at, value))
                    .collect(),
                asked: Vec::new(),
            }),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::List(_) => {
                problems.add(
                    node.position,
                    "wrong-type",
                    format!("{what} must be a mapping, not {}", node.type_name()),
                );
                None
            }
        }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// A field that may be missing.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.entries
            .iter()
            .find(|(name, ..)| *name == key)
            .map(|(_, _, node)| *node)
    }

    /// A field that must be there.
    pub(super) fn required(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<&'a Node> {
        let node = self.optional(key);
        if node.is_none() {
            problems.add(
                self.position,
                "missing-field",
                format!("{} needs the field `{key}`", self.what),
            );
        }
        node
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<(&'a str, Position)> {
        self.required(key, problems)
            .and_then(|node| text(node, key, problems))
    }

    pub(super) fn optional_text(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<(&'a str, Position)> {
        self.optional(key)
            .and_then(|node| text(node, key, problems))
    }

    pub(super) fn optional_duration(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Duration> {
        let (value, position) = self.optional_text(key, problems)?;
        let duration = parse_duration(value).filter(|duration| !duration.is_zero());
        if duration.is_none() {
            problems.add(
                position,
                "bad-duration",
                format!(
                    "`{key}` must be an ISO 8601 duration above zero such as PT30M, not {value:?}"
                ),
            );
        }
        duration
    }

    pub(super) fn optional_count(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<u32> {
        let node = self.optional(key)?;
        let count = match &node.data {
            Data::Number(number) => number.as_u64().and_then(|value| u32::try_from(value).ok()),
            Data::Null | Data::Bool(_) | Data::Text(_) | Data::List(_) | Data::Map(_) => None,
        };
        let count = count.filter(|count| *count > 0);
        if count.is_none() {
            problems.add(
                node.position,
                "wrong-type",
                format!("`{key}` must be a whole number of at least 1"),
            );
        }
        count
    }

    /// A list of texts.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<(&'a str, Position)> {
        let Some(node) = self.optional(key) else {
            return Vec::new();
        };
        match &node.data {
            Data::List(items) => items
                .iter()
                .filter_map(|item| text(item, key, problems))
                .collect(),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::Map(_) => {
                problems.add(
                    node.position,
                    "wrong-type",
                    format!("`{key}` must be a list"),
                );
                Vec::new()
            }
        }
    }

    /// Ends the reading: every field that nobody asked for is a problem that names the nearest known one.
    pub(super) fn finish(self, problems: &mut Problems) {
        for (key, position, _) in &self.entries {
            if self.asked.contains(key) {
                continue;
            }
            let nearest = self.asked.iter().max_by(|a, b| {
                strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key))
            });
            let hint = match nearest {
                Some(nearest) if strsim::jaro_winkler(nearest, key) > 0.8 => {
                    format!("; did you mean `{nearest}`?")
                }
                _ => format!("; it knows {}", self.asked.join(", ")),
            };
            problems.add(
                *position,
                "unknown-field",
                format!("{} has no field `{key}`{hint}", self.what),
            );
        }
    }
}

fn text<'a>(node: &'a Node, key: &str, problems: &mut Problems) -> Option<(&'a str, Position)> {
    match &node.data {
        Data::Text(text) => Some((text, node.position)),
        Data::Null | Data::Bool(_) | Data::Number(_) | Data::List(_) | Data::Map(_) => {
            problems.add(
                node.position,
                "wrong-type",
                format!("`{key}` must be text, not {}", node.type_name()),
            );
            None
        }
    }
}
