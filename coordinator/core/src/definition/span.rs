//! Order among the steps of a definition: who comes before whom, and what lies between two.

use super::{Definition, Node};

/// The transitive closure of `needs`.
#[derive(Clone, Debug)]
pub struct Order {
    /// `before[i]` holds `j` when `j` must have ended before `i` begins.
    before: Vec<Vec<bool>>,
    cycle: Vec<usize>,
}

impl Order {
    /// Computes the order of a definition's nodes; guards have none.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        Self::from(&comes_after(definition))
    }

    /// Computes the order of the steps of one item.
    #[must_use]
    pub fn of_body(body: &[Node]) -> Self {
        let needs: Vec<Vec<usize>> = body.iter().map(|node| node.needs.clone()).collect();
        Self::from(&needs)
    }

    fn from(comes_after: &[Vec<usize>]) -> Self {
        let n = comes_after.len();
        let mut before = vec![vec![false; n]; n];
        // Kahn's algorithm: a node is final once all its needs are.
        let mut done = vec![false; n];
        loop {
            let ready = (0..n).find(|&i| !done[i] && comes_after[i].iter().all(|&need| done[need]));
            let Some(i) = ready else { break };
            done[i] = true;
            for &need in &comes_after[i] {
                let row = before[need].clone();
                for (j, is_before) in row.into_iter().enumerate() {
                    before[i][j] |= is_before;
                }
                before[i][need] = true;
            }
        }
        let cycle = (0..n).filter(|&i| !done[i]).collect();
        Self { before, cycle }
    }

    /// Nodes on a cycle, or behind one; empty when there is none.
    #[must_use]
    pub fn cycle(&self) -> &[usize] {
        &self.cycle
    }

    /// True when `a` must have ended before `b` begins.
    #[must_use]
    pub fn is_before(&self, a: usize, b: usize) -> bool {
        self.before[b][a]
    }

    /// The nodes from `from` to `until`, both included, that lie between them; empty when `from` is not before `until`.
    #[must_use]
    pub fn between(&self, from: usize, until: usize) -> Vec<usize> {
        if from == until {
            return vec![from];
        }
        if !self.is_before(from, until) {
            return Vec::new();
        }
        (0..self.before.len())
            .filter(|&i| {
                i == from || i == until || (self.is_before(from, i) && self.is_before(i, until))
            })
            .collect()
    }
}

/// What each node comes right after. The steps of an item come after what their `forEach` needs, and the `forEach` ends after
/// them.
fn comes_after(definition: &Definition) -> Vec<Vec<usize>> {
    let mut comes_after: Vec<Vec<usize>> = definition
        .nodes
        .iter()
        .map(|node| node.needs.clone())
        .collect();
    for (index, node) in definition.nodes.iter().enumerate() {
        if let Some(item) = &node.item {
            let needs = &definition.nodes[item.for_each].needs;
            comes_after[index].extend(needs);
            comes_after[item.for_each].push(index);
        }
    }
    comes_after
}
