//! `drover definition`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use drover_core::{
    declaration::KindDeclaration,
    definition::{Definition, Kinds},
    view,
};
use drover_proto::v1;
use serde::Serialize;

use super::{Session, name_and_version};
use crate::{
    args::{DefinitionCommand, Global},
    client::within,
    convert,
    failure::{Exit, Failure, Outcome},
    files,
    output::{Columns, Output, Row},
};

pub(crate) async fn run(command: DefinitionCommand, global: &Global) -> Outcome {
    match command {
        DefinitionCommand::Validate { files, kinds } => {
            validate(&files, kinds.as_deref(), &Output::new(global))
        }
        DefinitionCommand::Register { file, dry_run } => {
            Session::open(global).await?.register(&file, dry_run).await
        }
        DefinitionCommand::List => Session::open(global).await?.definitions().await,
        DefinitionCommand::Show { name } => Session::open(global).await?.show(&name).await,
        DefinitionCommand::Diff { a, b } => diff(&a, &b, global).await,
        DefinitionCommand::Kinds => Session::open(global).await?.kinds().await,
    }
}

#[derive(Serialize)]
struct Finding {
    file: String,
    line: u32,
    column: u32,
    code: &'static str,
    message: String,
}

const FINDINGS: Columns = Columns {
    narrow: &["PLACE", "PROBLEM"],
    wide: &["CODE"],
};

/// Without a coordinator: every problem of every file, `FILE:LINE:COL`.
fn validate(paths: &[PathBuf], kinds: Option<&Path>, output: &Output) -> Outcome {
    let kinds = match kinds {
        Some(path) => read_kinds(path)?,
        None => built_in_kinds()?,
    };
    let mut findings = Vec::new();
    for path in paths {
        let text = files::read(path)?;
        let problems = match Definition::parse(&text) {
            Ok(definition) => definition.validate(&kinds),
            Err(problems) => problems,
        };
        findings.extend(problems.into_iter().map(|problem| Finding {
            file: path.display().to_string(),
            line: problem.position.line,
            column: problem.position.column,
            code: problem.code,
            message: problem.message,
        }));
    }
    if findings.is_empty() {
        let n = paths.len();
        return match output.format {
            crate::args::Format::Table | crate::args::Format::Wide => output.text(&format!(
                "{n} {} valid",
                if n == 1 {
                    "definition is"
                } else {
                    "definitions are"
                }
            )),
            _ => output.list(
                &findings,
                |_| String::new(),
                &FINDINGS,
                |_| Row {
                    narrow: vec![],
                    wide: vec![],
                },
            ),
        };
    }
    match output.format {
        crate::args::Format::Table | crate::args::Format::Wide => {
            for Finding {
                file,
                line,
                column,
                code,
                message,
            } in &findings
            {
                output.text(&format!("{file}:{line}:{column}: {message} [{code}]"))?;
            }
        }
        _ => output.list(
            &findings,
            |finding| format!("{}:{}:{}", finding.file, finding.line, finding.column),
            &FINDINGS,
            |_| Row {
                narrow: vec![],
                wide: vec![],
            },
        )?,
    }
    let n = findings.len();
    Err(Failure::usage(format!(
        "{n} {}",
        if n == 1 { "problem" } else { "problems" }
    )))
}

/// Declarations as `definition kinds -o json` prints them.
fn read_kinds(path: &Path) -> Outcome<Kinds> {
    let value = files::read_value(path)?;
    let declarations: Vec<KindDeclaration> = serde_json::from_value(value).map_err(|error| {
        Failure::usage(format!(
            "{}: not a list of step kinds: {error}",
            path.display()
        ))
    })?;
    Ok(declarations
        .into_iter()
        .map(|kind| (kind.kind.clone(), Arc::new(kind)))
        .collect())
}

#[cfg(feature = "dev")]
fn built_in_kinds() -> Outcome<Kinds> {
    crate::dev::built_in_kinds()
}

#[cfg(not(feature = "dev"))]
fn built_in_kinds() -> Outcome<Kinds> {
    Err(Failure::usage(
        "this build knows no step kinds: name a file with --kinds (`drover definition kinds -o json` writes one)",
    ))
}

#[derive(Serialize)]
struct Listed {
    name: String,
    version: u32,
    digest: String,
    registered_at: Option<drover_core::time::Timestamp>,
    registered_by: String,
}

impl Session {
    async fn register(&mut self, file: &Path, dry_run: bool) -> Outcome {
        let text = files::read(file)?;
        let request = within(
            v1::RegisterDefinitionRequest { text, dry_run },
            self.timeout,
        );
        let response = match self.client.definitions.register_definition(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                let problems: Vec<String> = status
                    .metadata()
                    .get_all("drover-problem")
                    .iter()
                    .filter_map(|problem| problem.to_str().ok())
                    .map(|problem| format!("{}:{problem}", file.display()))
                    .collect();
                if problems.is_empty() {
                    return Err(status.into());
                }
                return Err(Failure::usage(problems.join("\n")));
            }
        };
        let reference = convert::definition(response.definition);
        let name = format!("{}@{}", reference.name, reference.version);
        let what = match (dry_run, response.created) {
            (_, false) => "was registered before with the same text",
            (true, true) => "is valid and would be registered",
            (false, true) => "is registered",
        };
        self.output
            .one(&reference, &name, || format!("{name} {what}"))
    }

    async fn definitions(&mut self) -> Outcome {
        self.look_at_clock().await?;
        let request = within(v1::ListDefinitionsRequest {}, self.timeout);
        let definitions = self
            .client
            .definitions
            .list_definitions(request)
            .await?
            .into_inner()
            .definitions;
        let listed: Vec<Listed> = definitions
            .into_iter()
            .map(|definition| {
                let reference = convert::definition(definition.r#ref);
                Listed {
                    name: reference.name,
                    version: reference.version,
                    digest: reference.digest,
                    registered_at: convert::time(definition.registered_at.as_ref()),
                    registered_by: definition
                        .registered_by
                        .map_or_else(String::new, |actor| actor.name),
                }
            })
            .collect();
        let columns = Columns {
            narrow: &["NAME", "VERSION", "REGISTERED", "BY"],
            wide: &["DIGEST"],
        };
        self.output.list(
            &listed,
            |found| format!("{}@{}", found.name, found.version),
            &columns,
            |found| Row {
                narrow: vec![
                    found.name.clone(),
                    found.version.to_string(),
                    self.output.time(found.registered_at),
                    found.registered_by.clone(),
                ],
                wide: vec![found.digest.clone()],
            },
        )
    }

    async fn text_of(&mut self, name: &str) -> Outcome<(view::DefinitionRef, String)> {
        let (name, version) = name_and_version(name)?;
        let request = within(v1::GetDefinitionRequest { name, version }, self.timeout);
        let definition = self
            .client
            .definitions
            .get_definition(request)
            .await?
            .into_inner();
        Ok((convert::definition(definition.r#ref), definition.text))
    }

    async fn show(&mut self, name: &str) -> Outcome {
        let (reference, text) = self.text_of(name).await?;
        let shown = format!("{}@{}", reference.name, reference.version);
        self.output.one(&reference, &shown, || text)
    }

    async fn kinds(&mut self) -> Outcome {
        let request = within(v1::ListKindsRequest {}, self.timeout);
        let wire = self
            .client
            .definitions
            .list_kinds(request)
            .await?
            .into_inner()
            .kinds;
        let kinds = wire
            .into_iter()
            .map(crate::kinds::declaration)
            .collect::<Outcome<Vec<_>>>()?;
        let columns = Columns {
            narrow: &["KIND", "ROLE", "CLASS", "UNDO", "SUMMARY"],
            wide: &["REACH"],
        };
        self.output.list(
            &kinds,
            |kind| kind.kind.to_string(),
            &columns,
            |kind| {
                let word = |value: serde_json::Value| match value {
                    serde_json::Value::String(text) => text,
                    serde_json::Value::Object(entries) => {
                        entries.keys().next().cloned().unwrap_or_default()
                    }
                    other => other.to_string(),
                };
                let json = |value: &dyn erased::Json| word(value.json());
                Row {
                    narrow: vec![
                        kind.kind.to_string(),
                        json(&kind.role),
                        kind.class.clone(),
                        json(&kind.compensation),
                        kind.summary.clone(),
                    ],
                    wide: vec![kind.reach.join(",")],
                }
            },
        )
    }
}

mod erased {
    use serde::Serialize;

    /// Anything that serializes, behind a reference.
    pub(super) trait Json {
        fn json(&self) -> serde_json::Value;
    }

    impl<T: Serialize> Json for T {
        fn json(&self) -> serde_json::Value {
            serde_json::to_value(self).expect("views serialize")
        }
    }
}

async fn diff(a: &str, b: &str, global: &Global) -> Outcome {
    let old = side(a, global).await?;
    let new = side(b, global).await?;
    let output = Output::new(global);
    let changes = changes(&old, &new);
    if changes.is_empty() {
        return output.text("the same");
    }
    output.text(&changes.join("\n"))?;
    // As diff(1): there is a difference.
    Err(Failure::new(Exit::Failed, ""))
}

/// A file's text, or that of a registered definition.
async fn side(name: &str, global: &Global) -> Outcome<String> {
    let path = Path::new(name);
    if path.exists() {
        return files::read(path);
    }
    Ok(Session::open(global).await?.text_of(name).await?.1)
}

/// What changed, in terms of steps; of lines when a side does not parse.
fn changes(old: &str, new: &str) -> Vec<String> {
    let (Ok(a), Ok(b)) = (Definition::parse(old), Definition::parse(new)) else {
        return if old == new {
            Vec::new()
        } else {
            vec!["the texts differ and at least one is not valid: validate them first".to_owned()]
        };
    };
    let mut changes = Vec::new();
    if (&a.name, a.version) != (&b.name, b.version) {
        changes.push(format!(
            "~ {}@{} -> {}@{}",
            a.name, a.version, b.name, b.version
        ));
    }
    for node in &a.nodes {
        if b.index_of(node.id.as_str()).is_none() {
            changes.push(format!("- {}", node.id));
        }
    }
    for node in &b.nodes {
        match a.index_of(node.id.as_str()) {
            None => changes.push(format!(
                "+ {} ({})",
                node.id,
                node.kind()
                    .map_or("gate or timer".to_owned(), ToString::to_string)
            )),
            Some(index) => {
                let was = describe(&a, index);
                let is = describe(&b, b.index_of(node.id.as_str()).unwrap_or(index));
                for ((what, before), (_, after)) in was.iter().zip(&is) {
                    if before != after {
                        changes.push(format!("~ {} {what}: {before} -> {after}", node.id));
                    }
                }
            }
        }
    }
    let name = |definition: &Definition, index: Option<usize>| {
        index.map_or("none".to_owned(), |index| {
            definition.nodes[index].id.to_string()
        })
    };
    if name(&a, a.pivot) != name(&b, b.pivot) {
        changes.push(format!(
            "~ pivot: {} -> {}",
            name(&a, a.pivot),
            name(&b, b.pivot)
        ));
    }
    let span = |definition: &Definition| {
        definition
            .critical
            .map_or("none".to_owned(), |(from, until)| {
                format!(
                    "{}..{}",
                    definition.nodes[from].id, definition.nodes[until].id
                )
            })
    };
    if span(&a) != span(&b) {
        changes.push(format!("~ critical: {} -> {}", span(&a), span(&b)));
    }
    if a.input != b.input {
        changes.push("~ input".to_owned());
    }
    changes
}

/// What of a step a diff looks at.
fn describe(definition: &Definition, index: usize) -> Vec<(&'static str, String)> {
    let node = &definition.nodes[index];
    let needs: Vec<&str> = node
        .needs
        .iter()
        .map(|&need| definition.nodes[need].id.as_str())
        .collect();
    vec![
        ("action", format!("{:?}", node.action)),
        ("needs", needs.join(",")),
        (
            "when",
            node.when
                .as_ref()
                .map_or_else(String::new, |when| when.source().to_owned()),
        ),
        ("timeouts", format!("{:?}", node.timeouts)),
        ("retry", format!("{:?}", node.retry)),
        ("onFailure", format!("{:?}", node.on_failure)),
    ]
}
