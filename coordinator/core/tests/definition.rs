//! Every problem that a definition can have: its code, its place, and that it is found beside others.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::sync::Arc;

use common::{definition, kind, kinds};
use drover_core::definition::{DEFINITION_BYTES_MAX, Definition, Kinds, NODES_MAX};
use serde_json::json;

/// The toy kinds, and `t.typed/1`, which takes exactly one integer named `count`.
fn all_kinds() -> Kinds {
    let mut all = kinds();
    let mut typed = kind("t.typed/1");
    typed.params_schema = json!({
        "type": "object",
        "properties": { "count": { "type": "integer" } },
        "required": ["count"],
        "additionalProperties": false,
    });
    all.insert(typed.kind.clone(), Arc::new(typed));
    all
}

/// `LINE:COL code` of every problem.
fn problems(text: &str) -> Vec<String> {
    let found = match Definition::parse(text) {
        Ok(definition) => definition.validate(&all_kinds()),
        Err(problems) => problems,
    };
    found
        .iter()
        .map(|problem| {
            let (place, message) = (problem.position, &problem.message);
            assert!(
                !message.is_empty() && !message.contains('\n'),
                "one sentence: {message:?}"
            );
            format!("{}:{} {}", place.line, place.column, problem.code)
        })
        .collect()
}

struct Case {
    name: &'static str,
    /// What stands below `spec`; its first line is line 7 of the definition.
    spec: &'static str,
    /// `LINE:COL code`
    problems: &'static [&'static str],
}

const fn case(name: &'static str, spec: &'static str, problems: &'static [&'static str]) -> Case {
    Case {
        name,
        spec,
        problems,
    }
}

const CASES: &[Case] = &[
    case(
        "a sound one",
        "
  steps:
  - { id: a, uses: t.work/1 }
",
        &[],
    ),
    case(
        "no steps",
        "
  steps: []
",
        &["5:3 no-steps"],
    ),
    case(
        "steps of another type",
        "
  steps: 3
",
        &["5:3 no-steps", "7:10 wrong-type"],
    ),
    case(
        "an unknown field",
        "
  stepz: []
  steps:
  - { id: a, uses: t.work/1, need: [b] }
",
        &["7:3 unknown-field", "9:30 unknown-field"],
    ),
    case(
        "an id that is none",
        "
  steps:
  - { id: A_b, uses: t.work/1 }
",
        &["8:11 bad-id"],
    ),
    case(
        "an id used twice",
        "
  steps:
  - { id: a, uses: t.work/1 }
  - { id: a, uses: t.work/1 }
",
        &["9:5 duplicate-id"],
    ),
    case(
        "a kind without version",
        "
  steps:
  - { id: a, uses: t.work }
",
        &["8:20 bad-kind"],
    ),
    case(
        "an unknown kind",
        "
  steps:
  - { id: a, uses: t.wrok/1 }
",
        &["8:5 unknown-kind"],
    ),
    case(
        "an unknown version",
        "
  steps:
  - { id: a, uses: t.work/7 }
",
        &["8:5 unknown-version"],
    ),
    case(
        "a guard as a step",
        "
  steps:
  - { id: a, uses: t.guard/1 }
",
        &["8:5 wrong-role"],
    ),
    case(
        "a step as a guard",
        "
  steps:
  - { id: a, uses: t.work/1 }
  guards:
  - { id: g, uses: t.work/1, from: a, until: a, autonomy: PT1H }
",
        &["10:5 wrong-role"],
    ),
    case(
        "two actions",
        "
  steps:
  - { id: a, uses: t.work/1, timer: PT1M }
",
        &["8:5 not-one-action"],
    ),
    case(
        "no action",
        "
  steps:
  - { id: a }
",
        &["8:5 not-one-action"],
    ),
    case(
        "a bad duration",
        "
  steps:
  - { id: a, timer: 5 minutes }
",
        &["8:21 bad-duration"],
    ),
    case(
        "needs a step that is not there",
        "
  steps:
  - { id: a, uses: t.work/1, needs: [b] }
",
        &["8:38 unknown-step"],
    ),
    case(
        "needs a guard",
        "
  steps:
  - { id: a, uses: t.work/1, needs: [g] }
  guards:
  - { id: g, uses: t.guard/1, from: a, until: a, autonomy: PT1H }
",
        &["8:38 unknown-step"],
    ),
    case(
        "a cycle",
        "
  steps:
  - { id: a, uses: t.work/1, needs: [c] }
  - { id: b, uses: t.work/1, needs: [a] }
  - { id: c, uses: t.work/1, needs: [b] }
  - { id: d, uses: t.work/1 }
",
        &["8:5 cycle", "9:5 cycle", "10:5 cycle"],
    ),
    case(
        "a step that needs itself",
        "
  steps:
  - { id: a, uses: t.work/1, needs: [a] }
",
        &["8:5 cycle"],
    ),
    case(
        "an output of nobody",
        "
  steps:
  - { id: a, uses: t.work/1, with: { x: '${steps.b.output.y}' } }
",
        &["8:5 unknown-step"],
    ),
    case(
        "an output before it exists",
        "
  steps:
  - { id: a, uses: t.work/1, with: { x: '${steps.b.output.y}' } }
  - { id: b, uses: t.work/1 }
",
        &["8:5 output-too-early"],
    ),
    case(
        "an output of a timer",
        "
  steps:
  - { id: b, timer: PT1M }
  - { id: a, uses: t.work/1, needs: [b], with: { x: '${steps.b.output.y}' } }
",
        &["9:5 no-output"],
    ),
    case(
        "an output that may be missing",
        "
  steps:
  - { id: b, uses: t.work/1, when: input.x }
  - { id: a, uses: t.work/1, needs: [b], with: { x: '${steps.b.output.y}' } }
",
        &["9:5 output-may-be-missing"],
    ),
    case(
        "an output that may be missing, asked for first",
        "
  steps:
  - { id: b, uses: t.work/1, when: input.x }
  - { id: a, uses: t.work/1, needs: [b], with: { x: '${has(steps.b.output) ? steps.b.output.y : 0}' } }
",
        &[],
    ),
    case(
        "an expression that is none",
        "
  steps:
  - { id: a, uses: t.work/1, when: 'input.x &&' }
",
        &["8:36 expression-syntax"],
    ),
    case(
        "an expression that is not closed",
        "
  steps:
  - { id: a, uses: t.work/1, with: { x: '${input.x' } }
",
        &["8:41 expression-syntax"],
    ),
    case(
        "an unknown variable",
        "
  steps:
  - { id: a, uses: t.work/1, when: inputs.x }
",
        &["8:36 unknown-variable"],
    ),
    case(
        "steps without a name",
        "
  steps:
  - { id: a, uses: t.work/1, when: size(steps) > 0 }
",
        &["8:36 dynamic-step"],
    ),
    case(
        "a step that never runs",
        "
  steps:
  - { id: a, uses: t.work/1, when: 'false' }
",
        &["8:5 unreachable-step"],
    ),
    case(
        "parameters of another type",
        "
  steps:
  - { id: a, uses: t.work/1, with: [1] }
",
        &["8:36 wrong-type"],
    ),
    case(
        "parameters that do not fit",
        "
  steps:
  - { id: a, uses: t.typed/1, with: { count: three } }
",
        &["8:5 bad-params"],
    ),
    case(
        "a parameter that is missing",
        "
  steps:
  - { id: a, uses: t.typed/1, with: { size: '${input.x}' } }
",
        &["8:5 bad-params", "8:5 bad-params"],
    ),
    case(
        "a placement that reads an output",
        "
  exclusive: '${steps.a.output}'
  steps:
  - { id: a, uses: t.work/1 }
",
        &["7:14 output-too-early"],
    ),
    case(
        "a pivot that is not there",
        "
  pivot: z
  steps:
  - { id: a, uses: t.work/1 }
",
        &["7:10 unknown-step"],
    ),
    case(
        "a step beside the pivot",
        "
  pivot: b
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a] }
  - { id: c, uses: t.work/1 }
",
        &["11:5 both-sides-of-pivot"],
    ),
    case(
        "unwinding from the pivot",
        "
  pivot: b
  steps:
  - { id: a, uses: t.work/1, onFailure: unwind }
  - { id: b, uses: t.work/1, needs: [a], onFailure: unwind }
",
        &["10:5 unwind-after-pivot"],
    ),
    case(
        "a failure word",
        "
  steps:
  - { id: a, uses: t.work/1, onFailure: explode }
",
        &["8:41 wrong-value"],
    ),
    case(
        "a critical span the wrong way round",
        "
  critical: { from: b, until: a }
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a] }
",
        &["10:5 empty-span"],
    ),
    case(
        "a critical span that forks",
        "
  critical: { from: a, until: d }
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a] }
  - { id: c, uses: t.work/1, needs: [a] }
  - { id: d, uses: t.work/1, needs: [b, c] }
",
        &["11:5 critical-not-linear", "12:5 critical-not-linear"],
    ),
    case(
        "a step beside the critical span",
        "
  critical: { from: a, until: b }
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a] }
  - { id: c, uses: t.work/1 }
",
        &["11:5 critical-not-linear"],
    ),
    case(
        "a gate in the critical span",
        "
  critical: { from: a, until: c }
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, needs: [a], gate: { approvers: [lead], expires: PT1H } }
  - { id: c, uses: t.work/1, needs: [b] }
",
        &["10:5 critical-waits"],
    ),
    case(
        "a critical step elsewhere",
        "
  critical: { from: a, until: b }
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a], placement: { installation: lotus } }
",
        &["10:5 critical-elsewhere"],
    ),
    case(
        "a critical step that reads inside",
        "
  critical: { from: a, until: b }
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a], with: { x: '${steps.a.output.x}' } }
",
        &["10:5 critical-reads-inside"],
    ),
    case(
        "a guard of nothing",
        "
  steps:
  - { id: a, uses: t.work/1 }
  - { id: b, uses: t.work/1, needs: [a] }
  guards:
  - { id: g, uses: t.guard/1, from: b, until: a, autonomy: PT1H }
",
        &["11:5 empty-span"],
    ),
    case(
        "a guard without autonomy",
        "
  steps:
  - { id: a, uses: t.work/1 }
  guards:
  - { id: g, uses: t.guard/1, from: a, until: a }
",
        &["10:5 missing-field"],
    ),
    case(
        "a guard that reads its span",
        "
  steps:
  - { id: a, uses: t.work/1 }
  guards:
  - { id: g, uses: t.guard/1, from: a, until: a, autonomy: PT1H, with: { x: '${steps.a.output.x}' } }
",
        &["10:5 output-too-early"],
    ),
    case(
        "a gate that nobody approves",
        "
  steps:
  - { id: a, gate: { approvers: [], expires: PT1H } }
",
        &["8:5 nobody-approves"],
    ),
    case(
        "evidence that comes later",
        "
  steps:
  - { id: a, gate: { approvers: [lead], expires: PT1H, evidence: [b] } }
  - { id: b, uses: t.work/1, needs: [a] }
",
        &["8:5 evidence-too-late"],
    ),
    case(
        "a retry that shrinks",
        "
  steps:
  - { id: a, uses: t.work/1, retry: { backoffCoefficient: 0.5 } }
",
        &["8:59 wrong-type"],
    ),
    case(
        "many at once",
        "
  pivot: z
  steps:
  - { id: A, uses: t.work/1 }
  - { id: b, uses: t.wrok/1, needs: [y], timeouts: { heartbeat: often } }
  - { id: c, timer: soon }
",
        &["7:10 unknown-step", "9:11 bad-id", "10:38 unknown-step", "10:65 bad-duration", "11:21 bad-duration"],
    ),
    case(
        "steps for each item",
        "
  steps:
  - { id: a, uses: t.work/1 }
  - id: each
    needs: [a]
    forEach: { in: \"${steps.a.output.list}\", as: item, key: \"${item.name}\" }
    maxParallel: 3
    onItemFailure: continue
    steps:
    - { id: one, uses: t.work/1, with: { item: \"${item}\", all: \"${steps.a.output}\" } }
    - { id: two, uses: t.work/1, needs: [one], with: { one: \"${steps.one.output}\" } }
  - { id: b, uses: t.work/1, needs: [each] }
",
        &[],
    ),
    case(
        "every problem inside a forEach",
        "
  steps:
  - { id: a, uses: t.work/1 }
  - id: each
    forEach: { in: \"${steps.a.output}\", as: input, key: k }
    steps: [{ id: one, uses: t.work/1 }]
  - id: other
    needs: [a]
    forEach: { in: \"${item}\", as: item, key: \"${itme}\", keys: 1 }
    onItemFailure: stop
    maxParallel: 0
    steps:
    - { id: one, uses: t.wrok/1, needs: [a] }
    - { id: two, uses: t.work/1, with: { x: \"${steps.one.output}\" } }
    - { id: three, forEach: { in: \"${[]}\", as: i, key: i }, steps: [] }
    - { id: two, timer: PT1S }
",
        &[
            "10:45 bad-variable",
            "14:20 unknown-variable",
            "14:46 unknown-variable",
            "14:57 unknown-field",
            "15:20 wrong-value",
            "16:18 wrong-type",
            "18:42 unknown-step",
            "20:29 nested-for-each",
            "21:7 duplicate-id",
        ],
    ),
    case(
        "order inside a forEach",
        "
  pivot: each
  steps:
  - { id: a, uses: t.work/1 }
  - id: each
    forEach: { in: \"${steps.a.output}\", as: item, key: k }
    steps:
    - { id: one, uses: t.wrok/1, needs: [two] }
    - { id: two, uses: t.work/1, needs: [one], onFailure: unwind }
    - { id: three, uses: t.work/1, with: { x: \"${steps.one.output}\" } }
  - { id: b, uses: t.work/1, needs: [each], with: { x: \"${steps.each.output}\" } }
",
        &[
            "9:5 both-sides-of-pivot",
            "10:5 output-too-early",
            "10:5 pivot-for-each",
            "10:5 unwind-after-pivot",
            "13:7 cycle",
            "13:7 unknown-kind",
            "14:7 cycle",
            "15:7 output-too-early",
            "16:5 no-output",
        ],
    ),
    case(
        "ids that YAML 1.1 reads as booleans",
        "
  steps:
  - { id: y, uses: t.work/1 }
  - { id: no, uses: t.work/1, needs: [y] }
",
        &[],
    ),
];

#[test]
fn each_problem_has_its_code_and_its_place() {
    for case in CASES {
        assert_eq!(
            problems(&definition(case.spec.trim_start_matches('\n'))),
            case.problems,
            "{}",
            case.name
        );
    }
}

#[test]
fn what_is_no_definition_at_all() {
    for (name, text, expected) in [
        ("nothing", "", "1:1 empty"),
        ("blanks", " \n\n", "1:1 empty"),
        ("no YAML", "spec: [a\nb: }", "2:2 yaml-syntax"),
        ("a key twice", "spec: 1\nspec: 2", "2:1 yaml-syntax"),
        ("text", "hello", "1:1 wrong-type"),
        ("two documents", "a: 1\n---\nb: 2", "3:1 yaml-syntax"),
    ] {
        assert_eq!(problems(text), [expected], "{name}");
    }
}

#[test]
fn another_kind_of_document() {
    let text = definition("  steps: [{ id: a, uses: t.work/1 }]")
        .replace("drover/v1", "v1")
        .replace("WorkflowDefinition", "ConfigMap")
        .replace("version: 1", "version: 0")
        .replace("type: object", "type: objekt");
    assert_eq!(
        problems(&text),
        [
            "1:13 wrong-value",
            "2:7 wrong-value",
            "3:34 wrong-type",
            "5:10 bad-schema"
        ]
    );
}

#[test]
fn what_is_too_large() {
    let long = format!("# {}\n", "x".repeat(DEFINITION_BYTES_MAX));
    assert_eq!(problems(&long), ["1:1 too-large"]);
    let many: String = (0..=NODES_MAX)
        .map(|n| format!("  - {{ id: s{n}, timer: PT1S }}\n"))
        .collect();
    let text = definition(&format!("  steps:\n{many}"));
    assert_eq!(problems(&text), ["5:3 too-large"]);
}
