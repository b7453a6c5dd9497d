//! Templates of CloudFormation stacks, as far as letting go of a stack needs it: which resources a deletion would take
//! along, and the same template with none.
//!
//! YAML templates are changed line by line and never parsed: they are full of tags (`!Ref`, `!GetAtt`) that would not survive.
//! What is not in block style, as the operators write it, is refused.

use std::fmt;

use serde_json::{Value, json};

/// A resource of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackResource {
    /// Its logical id.
    pub id: String,
    /// For example `AWS::EC2::VPC`.
    pub type_: String,
    /// True when it stays when the stack is deleted.
    pub retained: bool,
}

/// Why a template cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackTemplateError(String);

impl fmt::Display for StackTemplateError {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        into.write_str(&self.0)
    }
}

impl std::error::Error for StackTemplateError {}

/// A resource that is nothing. CloudFormation takes no update that changes deletion policies and nothing else ("Update
/// behaviors", attribute `DeletionPolicy`), so one comes into being beside them.
const MARK: &str = "DroverRetainsAll";
const MARK_TYPE: &str = "AWS::CloudFormation::WaitConditionHandle";

/// Resources of a template, in its order.
///
/// # Errors
/// When the template has no resources that can be read.
pub fn resources(template: &str) -> Result<Vec<StackResource>, StackTemplateError> {
    if let Some(template) = as_json(template)? {
        let resources = template["Resources"].as_object().ok_or_else(none)?;
        return Ok(resources
            .iter()
            .map(|(id, resource)| StackResource {
                id: id.clone(),
                type_: resource["Type"].as_str().unwrap_or_default().to_owned(),
                retained: resource["DeletionPolicy"] == "Retain",
            })
            .collect());
    }
    let lines: Vec<&str> = template.lines().collect();
    let attribute = |block: &Block, name: &str| {
        block
            .attributes(&lines)
            .find_map(|(_, line)| value_of(line, name))
    };
    Ok(blocks(&lines)?
        .iter()
        .map(|block| StackResource {
            id: block.id.clone(),
            type_: attribute(block, "Type").unwrap_or_default().to_owned(),
            retained: attribute(block, "DeletionPolicy") == Some("Retain"),
        })
        .collect())
}

/// The template with every resource retained. One that is so already is given back as it is.
///
/// # Errors
/// As [`resources`].
pub fn retain_all(template: &str) -> Result<String, StackTemplateError> {
    if resources(template)?
        .iter()
        .all(|resource| resource.retained)
    {
        return Ok(template.to_owned());
    }
    if let Some(mut template) = as_json(template)? {
        let resources = template["Resources"].as_object_mut().ok_or_else(none)?;
        resources.insert(MARK.to_owned(), json!({ "Type": MARK_TYPE }));
        for resource in resources.values_mut() {
            resource["DeletionPolicy"] = json!("Retain");
        }
        return Ok(template.to_string());
    }
    let lines: Vec<&str> = template.lines().collect();
    let blocks = blocks(&lines)?;
    let mut out: Vec<String> = Vec::new();
    let first = blocks.first().ok_or_else(none)?;
    out.extend(lines[..first.begin].iter().map(|line| (*line).to_owned()));
    for block in &blocks {
        out.push(lines[block.begin].to_owned());
        out.push(format!("{}DeletionPolicy: Retain", block.inner));
        let old = block
            .attributes(&lines)
            .find(|(_, line)| value_of(line, "DeletionPolicy").is_some())
            .map(|(n, _)| n);
        let rest = (block.begin + 1..block.end).filter(|n| Some(*n) != old);
        out.extend(rest.map(|n| lines[n].to_owned()));
    }
    if !blocks.iter().any(|block| block.id == MARK) {
        let (outer, inner) = (&first.outer, &first.inner);
        out.push(format!("{outer}{MARK}:"));
        out.push(format!("{inner}DeletionPolicy: Retain"));
        out.push(format!("{inner}Type: {MARK_TYPE}"));
    }
    let end = blocks.last().map_or(first.end, |block| block.end);
    out.extend(lines[end..].iter().map(|line| (*line).to_owned()));
    Ok(out.join("\n") + "\n")
}

fn as_json(template: &str) -> Result<Option<Value>, StackTemplateError> {
    if !template.trim_start().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(template)
        .map(Some)
        .map_err(|error| StackTemplateError(format!("the template is no JSON: {error}")))
}

fn none() -> StackTemplateError {
    StackTemplateError("the template has no resources".to_owned())
}

/// The lines of one resource in YAML: `begin` has its id, `end` is behind the last one.
struct Block {
    id: String,
    begin: usize,
    end: usize,
    /// What stands before ids of resources, and before names of their attributes.
    outer: String,
    inner: String,
}

impl Block {
    /// Lines that begin an attribute.
    fn attributes<'l>(&self, lines: &'l [&'l str]) -> impl Iterator<Item = (usize, &'l str)> {
        let inner = self.inner.clone();
        (self.begin + 1..self.end)
            .map(|n| (n, lines[n]))
            .filter(move |(_, line)| counts(line) && indent(line) == inner)
    }
}

fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches(' ').len()]
}

fn counts(line: &str) -> bool {
    let text = line.trim();
    !text.is_empty() && !text.starts_with('#')
}

/// What a line says after `name:`.
fn value_of<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let value = line.trim().strip_prefix(name)?.strip_prefix(':')?;
    Some(value.trim().trim_matches(['"', '\'']))
}

fn blocks(lines: &[&str]) -> Result<Vec<Block>, StackTemplateError> {
    let head = lines
        .iter()
        .position(|line| line.trim_end() == "Resources:")
        .ok_or_else(none)?;
    let section = head + 1
        ..lines[head + 1..]
            .iter()
            .position(|line| counts(line) && indent(line).is_empty())
            .map_or(lines.len(), |n| head + 1 + n);
    let outer = lines[section.clone()]
        .iter()
        .find(|line| counts(line))
        .map(|line| indent(line).to_owned())
        .ok_or_else(none)?;
    let begins: Vec<usize> = section
        .clone()
        .filter(|n| counts(lines[*n]) && indent(lines[*n]) == outer)
        .collect();
    let ends = begins.iter().skip(1).copied().chain([section.end]);
    begins
        .iter()
        .zip(ends)
        .map(|(begin, end)| {
            let id = lines[*begin].trim().strip_suffix(':');
            let inner = lines[begin + 1..end].iter().find(|line| counts(line));
            match (id, inner) {
                (Some(id), Some(inner)) if indent(inner).len() > outer.len() => Ok(Block {
                    id: id.trim_matches(['"', '\'']).to_owned(),
                    begin: *begin,
                    end,
                    outer: outer.clone(),
                    inner: indent(inner).to_owned(),
                }),
                _ => Err(StackTemplateError(format!(
                    "resource {:?} is not in block style",
                    lines[*begin].trim()
                ))),
            }
        })
        .collect()
}
