//! Steps for each item of a list that is known only when its turn comes: node pools, say.
//!
//! A `forEach` is one step of the definition. When its needs are met its list is evaluated, once, and the steps of every item
//! join the workflow as `for-each[key]/step`. It ends when all of them have.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, Definition, NODES_MAX, Node};
use crate::{
    expr::Template,
    ids::{InvalidId, StepId},
};

/// Steps for each item of a list.
#[derive(Clone, Debug)]
pub struct ForEach {
    /// The list.
    pub items: Template,
    /// What the item is called in the expressions of its steps.
    pub variable: Arc<str>,
    /// What names an item in ids; unique, of the shape of an id.
    pub key: Template,
    /// How many items are under way at once; at least 1.
    pub max_parallel: u32,
    /// What a step that waits for an operator means for the other items.
    pub on_item_failure: OnItemFailure,
    /// The steps of one item, in the order of the text; their needs are indices of this list.
    pub body: Vec<Node>,
}

/// What a step of an item that waits for an operator means for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnItemFailure {
    /// Nothing new starts.
    Pause,
    /// The other items go on.
    Continue,
}

/// To which item a step belongs.
#[derive(Clone, Debug)]
pub struct Item {
    /// Index of the `forEach`.
    pub for_each: usize,
    /// What names the item.
    pub key: Arc<str>,
    /// What its expressions see.
    pub value: Arc<Value>,
}

/// One item, as events keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemValue {
    /// What names it.
    pub key: Arc<str>,
    /// What its expressions see.
    pub value: Arc<Value>,
}

/// Why items cannot become steps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemsError {
    /// A key is not a word.
    #[error("a key names no item: {0}")]
    Key(#[from] InvalidId),
    /// Two items have one key.
    #[error("the key {0:?} names two items")]
    Repeated(String),
    /// Too many steps.
    #[error("with {0} steps the workflow would have more than {NODES_MAX}")]
    TooMany(usize),
}

impl Definition {
    /// The definition once the items of a `forEach` are known: their steps stand behind all others, so that no index
    /// changes.
    ///
    /// # Errors
    /// When a key is not a word or names two items, or there would be too many steps.
    pub fn with_items(&self, for_each: usize, items: &[ItemValue]) -> Result<Self, ItemsError> {
        let parent = &self.nodes[for_each];
        let body = parent.body();
        let n = self.nodes.len() + items.len() * body.len();
        if n > NODES_MAX {
            return Err(ItemsError::TooMany(n));
        }
        let mut definition = self.clone();
        let mut keys = BTreeSet::new();
        for item in items {
            if !keys.insert(&item.key) {
                return Err(ItemsError::Repeated(item.key.to_string()));
            }
            let first = definition.nodes.len();
            for inner in body {
                let mut node = inner.clone();
                node.id = StepId::of_item(parent.id.as_str(), &item.key, inner.id.as_str())?;
                node.item = Some(Item {
                    for_each,
                    key: Arc::clone(&item.key),
                    value: Arc::clone(&item.value),
                });
                shift(&mut node, first);
                definition.nodes.push(Arc::new(node));
            }
        }
        Ok(definition)
    }

    /// The steps of all items of a `forEach`, item by item.
    pub fn steps_of(&self, for_each: usize) -> impl Iterator<Item = usize> {
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(_, node)| {
                let item = node.item.as_ref();
                item.is_some_and(|item| item.for_each == for_each)
            })
            .map(|(index, _)| index)
    }

    /// All nodes in the order in which people read them: the steps of items behind their `forEach`.
    #[must_use]
    pub fn reading_order(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            if node.item.is_none() {
                order.push(index);
                if node.for_each().is_some() {
                    order.extend(self.steps_of(index));
                }
            }
        }
        order
    }

    /// The id under which a node knows another step: a step of the same item first, then any other.
    #[must_use]
    pub fn seen_from(&self, node: &Node, step: &str) -> Option<usize> {
        let sibling = node.item.as_ref().and_then(|item| {
            let id =
                StepId::of_item(self.nodes[item.for_each].id.as_str(), &item.key, step).ok()?;
            self.index_of(id.as_str())
        });
        sibling.or_else(|| self.index_of(step))
    }
}

/// The indices of a body become those of an item's steps.
fn shift(node: &mut Node, first: usize) {
    for need in &mut node.needs {
        *need += first;
    }
    if let Action::Gate(gate) = &mut node.action {
        for evidence in &mut gate.evidence {
            *evidence += first;
        }
    }
}
