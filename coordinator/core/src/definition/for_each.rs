//! Steps for each item of a list that is known only when its turn comes: node pools, say.
//!
//! A `forEach` is one step of the definition. When its needs are met its list is evaluated, once, and the steps of every item
//! join the workflow as `for-each[key]/step`. It ends when all of them have.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Definition, Node};
use crate::{expr::Template, ids::StepId};

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

impl Definition {
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
