//! The rules of a workflow, one sentence each.

#[path = "../common/mod.rs"]
mod common;

mod failures;
mod holding;
mod items;
mod objects;
mod operators;
mod order;
mod replan;
mod restored;
mod unwinding;
mod waiting;

pub(crate) const LINE: &str = "
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
";

pub(crate) const PIVOTED: &str = "
  pivot: b
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
";

pub(crate) const CRITICAL: &str = "
  pivot: b
  critical: { from: b, until: c }
  guards:
    - { id: g, uses: t.guard/1, from: b, until: d, autonomy: PT2H }
  steps:
    - { id: a, uses: t.work/1 }
    - { id: b, uses: t.work/1, needs: [a] }
    - { id: c, uses: t.work/1, needs: [b] }
    - { id: d, uses: t.work/1, needs: [c] }
";
