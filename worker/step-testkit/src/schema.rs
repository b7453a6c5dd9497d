//! Whether a value has the shape that a JSON Schema derived from a Rust type describes.
//!
//! Not a validator of JSON Schema: only the keywords that decide the shape (types, fields, items, alternatives,
//! references) are looked at. What it is there to find is a type whose serialization and whose schema have parted, and
//! that shows in the shape. A field that the schema does not know is one.

use serde_json::Value;

/// The first place where `value` does not have the shape of `schema`, or `None`.
pub(crate) fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    Shape { root: schema }.check("", schema, value).err()
}

struct Shape<'a> {
    root: &'a Value,
}

impl Shape<'_> {
    fn check(&self, at: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => return Err(wrong(at, "is not allowed")),
            other => other,
        };
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer))
                .ok_or_else(|| wrong(at, "refers to a schema that is not there"))?;
            self.check(at, target, value)?;
        }
        check_type(at, &schema["type"], value)?;
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return Err(wrong(at, "is none of the values listed"));
        }
        if let Some(constant) = schema.get("const")
            && constant != value
        {
            return Err(wrong(at, &format!("is not {constant}")));
        }
        for all in schema["allOf"].as_array().into_iter().flatten() {
            self.check(at, all, value)?;
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(alternatives) = schema[key].as_array() {
                self.check_any(at, alternatives, value)?;
            }
        }
        match value {
            Value::Object(_) => self.check_object(at, schema, value),
            Value::Array(items) => self.check_array(at, schema, items),
            _ => Ok(()),
        }
    }

    fn check_any(&self, at: &str, alternatives: &[Value], value: &Value) -> Result<(), String> {
        let mut reasons = Vec::new();
        for alternative in alternatives {
            match self.check(at, alternative, value) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
        let reasons = reasons.join("; ");
        Err(wrong(at, &format!("fits no alternative ({reasons})")))
    }

    fn check_object(&self, at: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let Value::Object(fields) = value else {
            return Ok(());
        };
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap_or_default();
            if !fields.contains_key(name) {
                return Err(wrong(at, &format!("lacks the field {name:?}")));
            }
        }
        let properties = schema["properties"].as_object();
        // Beside these keywords the fields may be described elsewhere.
        let open = ["$ref", "allOf", "anyOf", "oneOf"]
            .iter()
            .any(|keyword| schema.get(keyword).is_some());
        for (name, field) in fields {
            let at = format!("{at}/{name}");
            let described = properties.and_then(|properties| properties.get(name));
            match (described, schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => self.check(&at, schema, field)?,
                (None, None) if properties.is_some() && !open => {
                    return Err(wrong(&at, "is not in the schema"));
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn check_array(&self, at: &str, schema: &Value, items: &[Value]) -> Result<(), String> {
        let prefix = schema["prefixItems"].as_array();
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}/{index}");
            let described = prefix
                .and_then(|prefix| prefix.get(index))
                .or_else(|| schema.get("items"));
            if let Some(schema) = described {
                self.check(&at, schema, item)?;
            }
        }
        Ok(())
    }
}

fn check_type(at: &str, types: &Value, value: &Value) -> Result<(), String> {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let fits = match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if fits {
        Ok(())
    } else {
        Err(wrong(at, &format!("is not of type {types}")))
    }
}

fn wrong(at: &str, what: &str) -> String {
    let at = if at.is_empty() { "the whole" } else { at };
    format!("{at} {what}")
}

#[cfg(test)]
mod tests {
    use schemars::{JsonSchema, schema_for};
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Pool {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u32>,
        zones: Vec<Zone>,
    }

    #[derive(Serialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Zone {
        Named { name: String },
        Any,
    }

    #[test]
    fn what_a_type_serializes_to_has_the_shape_of_its_schema() {
        let schema = schema_for!(Pool);
        for size in [None, Some(3)] {
            let zones = vec![
                Zone::Any,
                Zone::Named {
                    name: "a".to_owned(),
                },
            ];
            let name = "np".to_owned();
            let pool = json!(Pool { name, size, zones });
            assert_eq!(mismatch(schema.as_value(), &pool), None);
        }
    }

    #[test]
    fn another_shape_is_named_by_its_place() {
        let schema = schema_for!(Pool);
        for (value, at) in [
            (json!([]), "the whole is not of type \"object\""),
            (json!({"name": "np"}), "the whole lacks the field \"zones\""),
            (
                json!({"name": 1, "zones": []}),
                "/name is not of type \"string\"",
            ),
            (
                json!({"name": "np", "zones": [], "nme": 1}),
                "/nme is not in the schema",
            ),
            (
                json!({"name": "np", "zones": [{"kind": "none"}]}),
                "/zones/0 fits no alternative",
            ),
        ] {
            let found = mismatch(schema.as_value(), &value).unwrap_or_default();
            assert!(found.starts_with(at), "{found}");
        }
    }
}
