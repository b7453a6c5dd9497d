//! Where two JSON values differ, for people and for waivers.

use std::fmt;

use serde_json::Value;

use crate::scenario::Waiver;

/// One place where two values differ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// Unescaped segments of the JSON pointer.
    path: Vec<String>,
    /// `None` when there should be nothing.
    expected: Option<Value>,
    /// `None` when there is nothing.
    got: Option<Value>,
}

/// Where `got` differs from `expected`, in document order; empty when they are equal.
pub(crate) fn diff(expected: &Value, got: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    walk(&mut Vec::new(), expected, got, &mut differences);
    differences
}

/// What no waiver covers. `used` is called for each waiver that covered something.
pub(crate) fn uncovered(
    differences: Vec<Difference>,
    waivers: &[Waiver],
    mut used: impl FnMut(&Waiver),
) -> Vec<Difference> {
    differences
        .into_iter()
        .filter(|difference| {
            let waiver = waivers
                .iter()
                .find(|waiver| covers(waiver.pattern, &difference.path));
            waiver.map(&mut used).is_none()
        })
        .collect()
}

fn walk(path: &mut Vec<String>, expected: &Value, got: &Value, found: &mut Vec<Difference>) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            for (key, value) in expected {
                path.push(key.clone());
                match got.get(key) {
                    Some(other) => walk(path, value, other, found),
                    None => push(path, Some(value), None, found),
                }
                path.pop();
            }
            for (key, value) in got.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                path.push(key.clone());
                push(path, None, Some(value), found);
                path.pop();
            }
        }
        (Value::Array(expected), Value::Array(got)) => walk_array(path, expected, got, found),
        _ if expected == got => {}
        _ => push(path, Some(expected), Some(got), found),
    }
}

/// An element more or less in the middle should not make all after it look different: equal ends are cut off first.
fn walk_array(
    path: &mut Vec<String>,
    expected: &[Value],
    got: &[Value],
    found: &mut Vec<Difference>,
) {
    let (start, tail) = if expected.len() == got.len() {
        (0, 0)
    } else {
        let shorter = expected.len().min(got.len());
        let start = (0..shorter).take_while(|&i| expected[i] == got[i]).count();
        let tail = (1..=shorter - start)
            .take_while(|&i| expected[expected.len() - i] == got[got.len() - i])
            .count();
        (start, tail)
    };
    let end = (expected.len() - tail).max(got.len() - tail);
    for index in start..end {
        let side = |values: &'_ [Value]| (index < values.len() - tail).then_some(index);
        path.push(index.to_string());
        match (side(expected), side(got)) {
            (Some(_), Some(_)) => walk(path, &expected[index], &got[index], found),
            (one, other) => push(
                path,
                one.map(|i| &expected[i]),
                other.map(|i| &got[i]),
                found,
            ),
        }
        path.pop();
    }
}

fn push(
    path: &[String],
    expected: Option<&Value>,
    got: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    found.push(Difference {
        path: path.to_vec(),
        expected: expected.cloned(),
        got: got.cloned(),
    });
}

/// True when `pattern` names `path` or something above it.
fn covers(pattern: &str, path: &[String]) -> bool {
    let mut path = path.iter();
    pattern
        .split('/')
        .skip(1)
        .all(|segment| match (segment, path.next()) {
            (_, None) => false,
            ("*", Some(_)) => true,
            (segment, Some(key)) => segment.replace("~1", "/").replace("~0", "~") == *key,
        })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.path {
            write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1"))?;
        }
        let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), shorten);
        let (expected, got) = (show(&self.expected), show(&self.got));
        write!(f, ": expected {expected}, got {got}")
    }
}

/// The first differences, one a line.
pub(crate) fn list(differences: &[Difference]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<String> = differences
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if differences.len() > SHOWN {
        lines.push(format!("and {} more", differences.len() - SHOWN));
    }
    lines.join("\n")
}

fn shorten(value: &Value) -> String {
    const CHARS: usize = 100;
    let text = value.to_string();
    if text.chars().count() <= CHARS {
        return text;
    }
    text.chars().take(CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(expected: Value, got: Value, lines: &[&str]) {
        assert_eq!(list(&diff(&expected, &got)), lines.join("\n"));
    }

    #[test]
    fn differences_are_named_by_pointer() {
        check(json!({"a": [1, 2]}), json!({"a": [1, 2]}), &[]);
        check(
            json!({"a": {"x/y": 1, "gone": [1]}, "same": null}),
            json!({"a": {"x/y": 2}, "same": null, "new": true}),
            &[
                "/a/x~1y: expected 1, got 2",
                "/a/gone: expected [1], got nothing",
                "/new: expected nothing, got true",
            ],
        );
    }

    #[test]
    fn an_element_more_is_one_difference() {
        check(
            json!([1, 2, 3]),
            json!([1, 9, 2, 3]),
            &["/1: expected nothing, got 9"],
        );
        check(
            json!(["a", "b", "c"]),
            json!(["a", "c"]),
            &["/1: expected \"b\", got nothing"],
        );
        check(json!([]), json!([1]), &["/0: expected nothing, got 1"]);
        check(json!([1, 2]), json!([2, 2]), &["/0: expected 1, got 2"]);
    }

    #[test]
    fn a_waiver_covers_what_is_below_it_and_nothing_beside() {
        let path = |pointer: &str| -> Vec<String> {
            pointer.split('/').skip(1).map(str::to_owned).collect()
        };
        for (pattern, pointer, expected) in [
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/c/d", true),
            ("/a/*/c", "/a/b", false),
            ("/a/*/c", "/a/b/x", false),
            ("/a", "/ab", false),
            ("/a~1b", "/a", false),
        ] {
            assert_eq!(
                covers(pattern, &path(pointer)),
                expected,
                "{pattern} {pointer}"
            );
        }
        assert!(covers("/a~1b", &["a/b".to_owned()]));
    }
}
