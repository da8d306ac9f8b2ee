//! Data model of the used part of CycloneDX (ECMA-424). It contains no timestamps and no random numbers.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use wheelfile::normalise;

/// Version of the CycloneDX specification.
pub const SPEC: &str = "1.7";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    #[serde(rename = "$schema")]
    schema: String,
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    tools: Tools,
    component: Component,
}

#[derive(Debug, Serialize)]
struct Tools {
    components: Vec<Component>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    depends_on: Vec<String>,
}

/// Component. Components from other SBOMs keep only the fields defined here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Component {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "bom-ref")]
    pub reference: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub purl: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Value>,
    /// Nested components.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
}

impl Document {
    /// Creates a document that describes `subject` and its components.
    pub fn new(subject: Component, components: Vec<Component>) -> Document {
        let of = subject.reference.clone();
        let depends_on = components.iter().map(|part| part.reference.clone()).collect();
        let tool = Component::new("application", "xtask", env!("CARGO_PKG_VERSION"));
        Document {
            schema: format!("http://cyclonedx.org/schema/bom-{SPEC}.schema.json"),
            bom_format: "CycloneDX",
            spec_version: SPEC,
            version: 1,
            metadata: Metadata { tools: Tools { components: vec![tool] }, component: subject },
            components,
            dependencies: vec![Dependency { of, depends_on }],
        }
    }

    /// Adds a property to the subject.
    pub fn describe_subject(&mut self, name: &str, value: &str) {
        self.metadata.component.property(name, value);
    }

    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl Component {
    pub fn new(kind: &str, name: &str, version: &str) -> Component {
        let reference = format!("{kind}:{name}@{version}");
        let (kind, name, version) = (kind.to_owned(), name.to_owned(), version.to_owned());
        Component { kind, reference, name, version, ..Component::default() }
    }

    /// Returns the component of a Python distribution.
    pub fn distribution(name: &str, version: &str, qualifiers: &str) -> Component {
        let purl = format!("pkg:pypi/{}@{}{qualifiers}", normalise(name), escaped(version));
        Component { reference: purl.clone(), purl, ..Component::new("library", name, version) }
    }

    /// Returns the component of a file, with its path relative to the subject.
    pub fn file(path: &str, sha256: &str) -> Component {
        Component { hashes: vec![hash(sha256)], reference: format!("file:{path}"), ..Component::new("file", path, "") }
    }

    pub fn property(&mut self, name: &str, value: &str) {
        self.properties.push(json!({"name": name, "value": value}));
    }

    /// Sets the licence: an SPDX expression (PEP 639), otherwise the licence name of the distribution.
    pub fn licence(&mut self, expression: Option<&str>, name: Option<&str>) {
        let filled = |text: &&str| !text.is_empty() && !text.contains('\n') && *text != "UNKNOWN";
        self.licenses = match (expression.filter(filled), name.filter(filled)) {
            (Some(expression), _) => vec![json!({"expression": expression})],
            (None, Some(name)) => vec![json!({"license": {"name": name}})],
            (None, None) => Vec::new(),
        };
    }

    /// Adds the components of an SBOM embedded in a wheel (PEP 770), such as crates and bundled libraries.
    pub fn adopt(&mut self, sbom: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Theirs {
            #[serde(default)]
            components: Vec<Component>,
        }
        let theirs: Theirs = serde_json::from_str(sbom)?;
        let (own, name) = (self.reference.clone(), normalise(&self.name));
        for part in theirs.components {
            // Some SBOMs list the wheel itself as a component, or a package once per file.
            let is_self = part.purl.starts_with("pkg:pypi/") && normalise(&part.name) == name;
            let known = !part.purl.is_empty() && self.components.iter().any(|known| known.purl == part.purl);
            if is_self || known {
                continue;
            }
            self.components.push(Component {
                // References must be unique in this document.
                reference: format!("{own}#{}", part.reference),
                properties: Vec::new(),
                components: Vec::new(),
                ..part
            });
        }
        Ok(())
    }
}

pub fn hash(sha256: &str) -> Value {
    json!({"alg": "SHA-256", "content": sha256})
}

/// Encodes a version or name for a package URL.
pub fn escaped(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b".-_~:".contains(&c);
    text.bytes().map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}
