//! Renders a JSON Schema as a page of Markdown: a section for each mapping, with a table of its fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

const INTRODUCTION: &str = "\
# Fields of matrix.yaml

Generated from the doc comments in `xtask/crates/matrix`; `UPDATE_REFERENCE=1 cargo test reference` writes this page and
[matrix.schema.json](matrix.schema.json). With the first line of `matrix.yaml`,
`# yaml-language-server: $schema=docs/reference/matrix.schema.json`, editors complete and check the file.

`[]` stands for each entry of a list: `packages[].build` is the field `build` of an entry of `packages`.
";

/// The page, from the schema of the whole file.
pub fn render(schema: &Value) -> String {
    let mut page = Page { schema, text: INTRODUCTION.to_owned(), mappings: BTreeMap::new(), others: BTreeSet::new() };
    page.mapping("", schema);
    page.others();
    page.text
}

struct Page<'s> {
    schema: &'s Value,
    text: String,
    /// Paths of the sections of definitions that are mappings, by name.
    mappings: BTreeMap<&'s str, String>,
    /// Names of the other definitions that are used: scalars and choices.
    others: BTreeSet<&'s str>,
}

/// What a field holds.
enum Kind<'s> {
    /// A type of JSON Schema itself.
    Plain(&'s str),
    Definition(&'s str),
    List(Box<Kind<'s>>),
    Map(Box<Kind<'s>>),
}

impl<'s> Page<'s> {
    /// Adds the section of the mapping at `path`, then those of the mappings in it.
    fn mapping(&mut self, path: &str, schema: &'s Value) {
        let title = if path.is_empty() { "Top level".to_owned() } else { format!("`{path}`") };
        let _ = write!(self.text, "\n## {title}\n\n{}\n\n", description(schema));
        self.text.push_str("| field | type | required | default | meaning |\n|---|---|---|---|---|\n");
        let mut inner = Vec::new();
        for (name, field) in fields(schema) {
            let kind = kind(field);
            let required = required(schema).any(|required| required == name);
            let default = match &kind {
                _ if required => String::new(),
                Kind::List(_) | Kind::Map(_) => "empty".to_owned(),
                Kind::Definition(name) => default(&self.schema["definitions"][name]),
                Kind::Plain(_) => default(field),
            };
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let shown = self.shown(&kind, &below, &mut inner);
            let required = if required { "yes" } else { "no" };
            let meaning = description(field).replace("\n\n", "<br>").replace('|', "\\|");
            let _ = writeln!(self.text, "| `{name}` | {shown} | {required} | {default} | {meaning} |");
        }
        for (path, definition) in inner {
            self.mapping(&path, definition);
        }
    }

    /// The type of the field at `path`. Mappings that have no section yet are added to `inner`.
    fn shown(&mut self, kind: &Kind<'s>, path: &str, inner: &mut Vec<(String, &'s Value)>) -> String {
        match kind {
            Kind::Plain("string") => "text".to_owned(),
            Kind::Plain(name) => (*name).to_owned(),
            Kind::List(of) => format!("list of {}", self.shown(of, &format!("{path}[]"), inner)),
            Kind::Map(of) => format!("mapping of text to {}", self.shown(of, path, inner)),
            Kind::Definition(name) => {
                let definition = &self.schema["definitions"][name];
                if definition["type"] != "object" {
                    self.others.insert(name);
                    return format!("[{name}](#{})", anchor(name));
                }
                if !self.mappings.contains_key(name) {
                    self.mappings.insert(name, path.to_owned());
                    inner.push((path.to_owned(), definition));
                }
                format!("[mapping](#{})", anchor(&self.mappings[name]))
            }
        }
    }

    /// Adds a section for each scalar and each set of choices.
    fn others(&mut self) {
        for name in std::mem::take(&mut self.others) {
            let definition = &self.schema["definitions"][name];
            let _ = write!(self.text, "\n## {name}\n\n{}\n", description(definition));
            let choices = definition["oneOf"].as_array();
            if choices.is_some() {
                self.text.push_str("\n| value | meaning |\n|---|---|\n");
            }
            for choice in choices.into_iter().flatten() {
                let value = choice["const"].as_str().or(choice["enum"][0].as_str()).unwrap();
                let _ = writeln!(self.text, "| `{value}` | {} |", description(choice));
            }
        }
    }
}

/// The fields of a mapping: those that are required in the order of the struct, then the others by name.
fn fields(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let optional = schema["properties"].as_object().into_iter().flatten();
    let optional = optional.filter(|(name, _)| !required(schema).any(|required| required == *name));
    let optional = optional.map(|(name, field)| (name.as_str(), field));
    required(schema).map(|name| (name, &schema["properties"][name])).chain(optional)
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn default(schema: &Value) -> String {
    match &schema["default"] {
        Value::Null => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn kind(schema: &Value) -> Kind<'_> {
    if let Some(name) = schema["$ref"].as_str() {
        return Kind::Definition(name.trim_start_matches("#/definitions/"));
    }
    // A reference with a description of its own, or with `null` as another choice.
    for choices in ["allOf", "anyOf"] {
        if let Some(choice) = schema[choices].as_array().and_then(|choices| choices.first()) {
            return kind(choice);
        }
    }
    // With `null` as another choice, the type is a list.
    let name = schema["type"].as_str().or(schema["type"][0].as_str()).unwrap();
    match name {
        "array" => Kind::List(Box::new(kind(&schema["items"]))),
        "object" => Kind::Map(Box::new(kind(&schema["additionalProperties"]))),
        name => Kind::Plain(name),
    }
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
