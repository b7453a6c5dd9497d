//! YAML documents with the place of every object, so that an error can say where.

use std::{fmt, sync::Arc};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// A place in an input, as editors print it: `FILE:LINE:COL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the file, or what the objects were read from.
    pub file: Arc<str>,
    /// Counted from 1; 0 when the input has no lines (objects read from an API).
    pub line: u32,
    /// Counted from 1; 0 when the input has no lines.
    pub column: u32,
}

impl Place {
    /// The first character of a file.
    pub(crate) fn start_of(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 1,
            column: 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// Why a text is not YAML.
#[derive(Clone, Debug)]
pub(crate) struct Syntax {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// The non-empty documents of one file, with `kind: …List` documents replaced by their items.
pub(crate) fn objects(file: &str, text: &str) -> Result<Vec<Located>, Syntax> {
    // The limits of the library are for small configuration files; the caller has bounded the size of the text.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 16_000_000,
            max_nodes: 8_000_000,
            max_documents: 1_000_000,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    let documents: Vec<Spanned<Node>> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| Syntax {
            place: error
                .location()
                .map_or_else(|| Place::start_of(file), |at| place(file, &at)),
            message: plain_message(&error.to_string()),
        })?;
    let mut found = Vec::new();
    for document in documents {
        flatten(file, document, &mut found);
    }
    Ok(found)
}

fn flatten(file: &str, node: Spanned<Node>, into: &mut Vec<Located>) {
    let at = place(file, &node.defined);
    match node.value {
        Node::Null => {}
        Node::Map(entries) if is_list(&entries) => {
            for (key, value) in entries {
                if let (true, Node::List(items)) = (key == "items", value.value) {
                    for item in items {
                        flatten(file, item, into);
                    }
                }
            }
        }
        other => into.push(Located {
            place: at,
            value: other.into_json(),
        }),
    }
}

/// `kubectl get -o yaml` of several objects prints one `List`; of one kind through the API, `ClusterList` and the like.
fn is_list(entries: &[(String, Spanned<Node>)]) -> bool {
    let kind = entries.iter().find(|(key, _)| key == "kind");
    let items = entries
        .iter()
        .any(|(key, value)| key == "items" && matches!(value.value, Node::List(_) | Node::Null));
    items
        && matches!(kind, Some((_, Spanned { value: Node::Text(kind), .. })) if kind.ends_with("List"))
}

fn place(file: &str, location: &Location) -> Place {
    Place {
        file: file.into(),
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

/// The library's messages begin with their own place; ours stands in front already.
fn plain_message(message: &str) -> String {
    let first = message.lines().next().unwrap_or("this is not YAML");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let first = match first.split_once(": ") {
        Some((place, what)) if place.starts_with("line ") => what,
        _ => first,
    };
    first.trim_end_matches('.').to_owned()
}

/// One node; places are kept only where something below needs them.
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

impl Node {
    fn into_json(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(value) => Value::Number(value),
            Self::Text(value) => Value::String(value),
            Self::List(items) => {
                Value::Array(items.into_iter().map(|i| i.value.into_json()).collect())
            }
            Self::Map(entries) => Value::Object(
                entries
                    .into_iter()
                    .map(|(key, node)| (key, node.value.into_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        // Infinities and NaN have no JSON form; their text is kept.
        Ok(Number::from_f64(value).map_or_else(|| Node::Text(value.to_string()), Node::Number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}
