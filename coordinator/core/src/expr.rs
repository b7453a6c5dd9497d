//! Expressions: CEL in `${…}` and in `when:`.
//!
//! CEL is the Kubernetes ecosystem's own expression language. An expression sees two variables: `input`, and `steps`,
//! where `steps['step-id'].output` is the output of a step that has ended; inside a `forEach` also the item, by the name
//! that `as` gives it. It is evaluated once, in `decide`; the event stores the result, so a newer CEL library cannot change
//! history.

use std::{collections::BTreeSet, fmt, sync::Arc};

use cel::{
    Context, Program,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue},
};
use serde_json::{Map, Value};

use crate::yaml::{Data, Node, Position, Problem};

/// A compiled expression and what it reads.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    program: Arc<Program>,
    reads: Vec<Read>,
    /// Name of the item that it may read.
    item: Option<Arc<str>>,
}

/// One step whose output an expression reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// The step's id.
    pub step: String,
    /// True when `has(steps['id'].output)` is asked somewhere in the expression, so that a missing output is no error.
    pub optional: bool,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("${{{source_text}}}: {message}")]
pub struct EvaluationError {
    /// The expression.
    pub source_text: String,
    /// What CEL says.
    pub message: String,
}

/// What expressions may see: the input and the outputs of ended steps.
pub trait Scope {
    /// The workflow's input.
    fn input(&self) -> &Value;
    /// The output of a step that has ended with one.
    fn output(&self, step: &str) -> Option<&Value>;
    /// The item of the `forEach` around, if there is one.
    fn item(&self) -> Option<&Value> {
        None
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}}}", self.source)
    }
}

impl Expression {
    /// Compiles `source`, which stands at `position` in a definition; `item` names the item of the `forEach` around.
    ///
    /// # Errors
    /// Every problem at once: syntax, unknown variables, `steps` used without naming a step.
    pub fn compile(
        source: &str,
        position: Position,
        item: Option<&str>,
    ) -> Result<Self, Vec<Problem>> {
        let program = Program::compile(source).map_err(|errors| {
            let message = errors.to_string();
            let line = message.lines().next().unwrap_or("not CEL");
            let line = line.rsplit("Syntax error: ").next().unwrap_or(line);
            vec![Problem::new(
                position,
                "expression-syntax",
                format!("the expression {source:?} is not CEL: {line}"),
            )]
        })?;
        let mut walk = Walk {
            source,
            position,
            reads: Vec::new(),
            problems: Vec::new(),
        };
        let mut bound: Vec<String> = item.iter().map(|&item| item.to_owned()).collect();
        walk.expr(program.expression(), &mut bound);
        if !walk.problems.is_empty() {
            return Err(walk.problems);
        }
        let mut reads: Vec<Read> = Vec::new();
        for read in walk.reads {
            match reads.iter_mut().find(|known| known.step == read.step) {
                // `has(x) && x.y`: CEL cannot tell that the second is guarded, so one has() makes all uses optional.
                Some(known) => known.optional |= read.optional,
                None => reads.push(read),
            }
        }
        Ok(Self {
            source: Arc::from(source),
            program: Arc::new(program),
            reads,
            item: item.map(Arc::from),
        })
    }

    /// The steps whose outputs it reads.
    #[must_use]
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its value as JSON.
    ///
    /// # Errors
    /// When it reads something that is not there, or CEL finds no value.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, EvaluationError> {
        let error = |message: String| EvaluationError {
            source_text: self.source.to_string(),
            message,
        };
        let mut steps = Map::new();
        for read in &self.reads {
            let mut step = Map::new();
            if let Some(output) = scope.output(&read.step) {
                step.insert("output".to_owned(), output.clone());
            }
            steps.insert(read.step.clone(), Value::Object(step));
        }
        let mut context = Context::default();
        context
            .add_variable("input", scope.input())
            .map_err(|problem| error(problem.to_string()))?;
        context
            .add_variable("steps", Value::Object(steps))
            .map_err(|problem| error(problem.to_string()))?;
        if let Some((name, item)) = self.item.as_deref().zip(scope.item()) {
            context
                .add_variable(name, item)
                .map_err(|problem| error(problem.to_string()))?;
        }
        let value = self
            .program
            .execute(&context)
            .map_err(|problem| error(problem.to_string()))?;
        value.json().map_err(|problem| error(problem.to_string()))
    }
}

struct Walk<'a> {
    source: &'a str,
    position: Position,
    reads: Vec<Read>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn problem(&mut self, code: &'static str, message: String) {
        self.problems
            .push(Problem::new(self.position, code, message));
    }

    /// `bound` holds the variables of the comprehensions around.
    fn expr(&mut self, expr: &IdedExpr, bound: &mut Vec<String>) {
        if let Some(step) = step_of(expr) {
            let step = step.to_owned();
            self.reads.push(Read {
                step,
                optional: false,
            });
            return;
        }
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.ident(name, bound),
            Expr::Select(select) => match step_of(&select.operand) {
                // Deeper fields of a missing output are errors in CEL, under has() too.
                Some(step) if select.test => {
                    let step = step.to_owned();
                    self.reads.push(Read {
                        step,
                        optional: true,
                    });
                }
                _ => self.expr(&select.operand, bound),
            },
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    self.expr(target, bound);
                }
                for argument in &call.args {
                    self.expr(argument, bound);
                }
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.expr(element, bound);
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    self.entry(&entry.expr, bound);
                }
            }
            Expr::Struct(structure) => {
                for entry in &structure.entries {
                    self.entry(&entry.expr, bound);
                }
            }
            Expr::Comprehension(comprehension) => {
                self.expr(&comprehension.iter_range, bound);
                self.expr(&comprehension.accu_init, bound);
                let depth = bound.len();
                bound.push(comprehension.iter_var.clone());
                bound.extend(comprehension.iter_var2.clone());
                bound.push(comprehension.accu_var.clone());
                self.expr(&comprehension.loop_cond, bound);
                self.expr(&comprehension.loop_step, bound);
                self.expr(&comprehension.result, bound);
                bound.truncate(depth);
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr, bound: &mut Vec<String>) {
        match entry {
            EntryExpr::StructField(field) => self.expr(&field.value, bound),
            EntryExpr::MapEntry(entry) => {
                self.expr(&entry.key, bound);
                self.expr(&entry.value, bound);
            }
        }
    }

    fn ident(&mut self, name: &str, bound: &[String]) {
        if name == "input" || bound.iter().any(|variable| variable == name) {
            return;
        }
        if name == "steps" {
            self.problem(
                "dynamic-step",
                format!(
                    "{:?} uses `steps` without naming a step: write steps['step-id'].output",
                    self.source
                ),
            );
        } else {
            self.problem(
                "unknown-variable",
                format!(
                    "{:?} reads `{name}`, which does not exist: use `input` or steps['step-id'].output (ids with a dash need the brackets)",
                    self.source
                ),
            );
        }
    }
}

/// The step that `steps.id` or `steps['id']` names.
fn step_of(expr: &IdedExpr) -> Option<&str> {
    let is_steps = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(name) if name == "steps");
    match &expr.expr {
        Expr::Select(select) if is_steps(&select.operand) => Some(&select.field),
        Expr::Call(call) if call.func_name == "_[_]" => match call.args.as_slice() {
            [operand, index] if is_steps(operand) => match &index.expr {
                Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
                Expr::Unspecified
                | Expr::Call(_)
                | Expr::Comprehension(_)
                | Expr::Ident(_)
                | Expr::List(_)
                | Expr::Literal(_)
                | Expr::Map(_)
                | Expr::Select(_)
                | Expr::Struct(_) => None,
            },
            _ => None,
        },
        Expr::Unspecified
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_) => None,
    }
}

/// A JSON value in which `${…}` stands for expressions.
#[derive(Clone, Debug)]
pub enum Template {
    /// Without any expression inside.
    Literal(Value),
    /// A text that is one expression: takes the expression's type.
    Expression(Expression),
    /// A text with expressions in it: always text.
    Text(Vec<Part>),
    /// A list with expressions inside.
    List(Vec<Template>),
    /// A mapping with expressions in its values.
    Map(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Clone, Debug)]
pub enum Part {
    /// As it stands.
    Literal(String),
    /// Its value, as text.
    Expression(Expression),
}

/// As a definition could have it, on one line.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => write!(f, "{value}"),
            Self::Expression(expression) => write!(f, "{expression:?}"),
            Self::Text(parts) => {
                f.write_str("\"")?;
                for part in parts {
                    match part {
                        Part::Literal(text) => f.write_str(text)?,
                        Part::Expression(expression) => write!(f, "{expression:?}")?,
                    }
                }
                f.write_str("\"")
            }
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, item)) in entries.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{key:?}:{item}")?;
                }
                f.write_str("}")
            }
        }
    }
}

impl Template {
    /// Reads a template from a definition; `item` names the item of the `forEach` around.
    ///
    /// # Errors
    /// Every problem of every expression inside.
    pub fn compile(node: &Node, item: Option<&str>) -> Result<Self, Vec<Problem>> {
        match &node.data {
            Data::Null | Data::Bool(_) | Data::Number(_) => Ok(Self::Literal(node.to_json())),
            Data::Text(text) => compile_text(text, node.position, item),
            Data::List(items) => {
                collect(items.iter().map(|node| Self::compile(node, item))).map(|items| {
                    if items.iter().all(Self::is_literal) {
                        Self::Literal(node.to_json())
                    } else {
                        Self::List(items)
                    }
                })
            }
            Data::Map(entries) => {
                let values = collect(
                    entries
                        .iter()
                        .map(|(_, _, value)| Self::compile(value, item)),
                )?;
                if values.iter().all(Self::is_literal) {
                    return Ok(Self::Literal(node.to_json()));
                }
                Ok(Self::Map(
                    entries
                        .iter()
                        .map(|(key, _, _)| key.clone())
                        .zip(values)
                        .collect(),
                ))
            }
        }
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    /// The steps whose outputs it reads, without repetition.
    #[must_use]
    pub fn reads(&self) -> BTreeSet<Read> {
        let mut reads = BTreeSet::new();
        self.collect_reads(&mut reads);
        reads
    }

    fn collect_reads(&self, reads: &mut BTreeSet<Read>) {
        match self {
            Self::Literal(_) => {}
            Self::Expression(expression) => reads.extend(expression.reads().iter().cloned()),
            Self::Text(parts) => {
                for part in parts {
                    if let Part::Expression(expression) = part {
                        reads.extend(expression.reads().iter().cloned());
                    }
                }
            }
            Self::List(items) => items.iter().for_each(|item| item.collect_reads(reads)),
            Self::Map(entries) => entries
                .iter()
                .for_each(|(_, item)| item.collect_reads(reads)),
        }
    }

    /// Its value.
    ///
    /// # Errors
    /// The first expression that has no value.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, EvaluationError> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Expression(expression) => expression.evaluate(scope)?,
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Literal(literal) => text.push_str(literal),
                        Part::Expression(expression) => match expression.evaluate(scope)? {
                            Value::String(value) => text.push_str(&value),
                            value @ (Value::Null
                            | Value::Bool(_)
                            | Value::Number(_)
                            | Value::Array(_)
                            | Value::Object(_)) => text.push_str(&value.to_string()),
                        },
                    }
                }
                Value::String(text)
            }
            Self::List(items) => Value::Array(
                items
                    .iter()
                    .map(|item| item.evaluate(scope))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, item)| Ok((key.clone(), item.evaluate(scope)?)))
                    .collect::<Result<_, EvaluationError>>()?,
            ),
        })
    }
}

fn compile_text(
    text: &str,
    position: Position,
    item: Option<&str>,
) -> Result<Template, Vec<Problem>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            // `$${` is a literal `${`.
            push_literal(&mut parts, &rest[..start - 1]);
            push_literal(&mut parts, "${");
            rest = &rest[start + 2..];
            continue;
        }
        push_literal(&mut parts, &rest[..start]);
        let Some(length) = expression_length(&rest[start + 2..]) else {
            return Err(vec![Problem::new(
                position,
                "expression-syntax",
                format!("{text:?} opens ${{ and never closes it (write $${{ for a literal ${{)"),
            )]);
        };
        let source = &rest[start + 2..start + 2 + length];
        parts.push(Part::Expression(Expression::compile(
            source.trim(),
            position,
            item,
        )?));
        rest = &rest[start + 2 + length + 1..];
    }
    push_literal(&mut parts, rest);
    Ok(match parts.as_slice() {
        [Part::Expression(expression)] => Template::Expression(expression.clone()),
        _ if parts.iter().all(|part| matches!(part, Part::Literal(_))) => {
            let text = parts.iter().map(|part| match part {
                Part::Literal(literal) => literal.as_str(),
                Part::Expression(_) => "",
            });
            Template::Literal(Value::String(text.collect()))
        }
        _ => Template::Text(parts),
    })
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
}

/// Bytes up to the `}` that closes an expression; braces of maps and quoted texts inside do not count.
fn expression_length(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(index),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn collect(
    results: impl Iterator<Item = Result<Template, Vec<Problem>>>,
) -> Result<Vec<Template>, Vec<Problem>> {
    let mut templates = Vec::new();
    let mut problems = Vec::new();
    for result in results {
        match result {
            Ok(template) => templates.push(template),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() {
        Ok(templates)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    struct Fixed {
        input: Value,
        outputs: BTreeMap<String, Value>,
    }

    impl Scope for Fixed {
        fn input(&self) -> &Value {
            &self.input
        }

        fn output(&self, step: &str) -> Option<&Value> {
            self.outputs.get(step)
        }
    }

    fn scope() -> Fixed {
        Fixed {
            input: json!({"cluster": "c1", "n": 3, "env": "prod"}),
            outputs: BTreeMap::from([(
                "etcd-join".to_owned(),
                json!({"members": ["a", "b"], "count": 2}),
            )]),
        }
    }

    fn template(yaml: &str) -> Result<Template, Vec<Problem>> {
        Template::compile(&Node::parse(yaml).unwrap(), None)
    }

    #[test]
    fn one_expression_keeps_its_type_and_a_text_stays_text() {
        let value = template(
            "{a: '${input.n}', b: 'x-${input.cluster}-${input.n}', c: \"${steps['etcd-join'].output.members}\", d: 1, e: '$${x}', f: [\"${{'k': input.n}}\"]}",
        )
        .unwrap()
        .evaluate(&scope())
        .unwrap();
        assert_eq!(
            value,
            json!({"a": 3, "b": "x-c1-3", "c": ["a", "b"], "d": 1, "e": "${x}", "f": [{"k": 3}]})
        );
    }

    #[test]
    fn reads_are_known_before_anything_runs() {
        let expression = Expression::compile(
            "has(steps.a.output) && steps.a.output.x && steps['b-c'].output.n == 1 && [1].all(i, i < input.n)",
            Position::default(),
            None,
        )
        .unwrap();
        assert_eq!(
            expression.reads(),
            [
                Read {
                    step: "a".into(),
                    optional: true
                },
                Read {
                    step: "b-c".into(),
                    optional: false
                }
            ]
        );
    }

    #[test]
    fn a_missing_output_is_false_under_has_and_an_error_elsewhere() {
        let has = Expression::compile("has(steps.gone.output)", Position::default(), None).unwrap();
        assert_eq!(has.evaluate(&scope()), Ok(json!(false)));
        let bare = Expression::compile("steps.gone.output.x", Position::default(), None).unwrap();
        assert!(bare.evaluate(&scope()).is_err());
    }

    #[test]
    fn every_problem_of_a_template_is_found_at_once() {
        let problems =
            template("{a: '${nope.x}', b: '${steps}', c: '${1 +}', d: '${open'}").unwrap_err();
        let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(
            codes,
            [
                "unknown-variable",
                "dynamic-step",
                "expression-syntax",
                "expression-syntax"
            ]
        );
        let dash =
            Expression::compile("steps.etcd-join.output", Position::default(), None).unwrap_err();
        assert!(dash[0].message.contains("brackets"), "{dash:?}");
    }
}
