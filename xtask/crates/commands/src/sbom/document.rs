//! The part of CycloneDX (ECMA-424) that is used here; no clock and no random number goes into it.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use wheelfile::normalise;

/// The version of the format.
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

/// A part; of those that others have listed only what is read here is passed on.
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
    /// What it consists of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
}

impl Document {
    /// What `subject` consists of.
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

    /// Adds a property to what the document describes.
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

    /// A Python distribution.
    pub fn distribution(name: &str, version: &str, qualifiers: &str) -> Component {
        let purl = format!("pkg:pypi/{}@{}{qualifiers}", normalise(name), escaped(version));
        Component { reference: purl.clone(), purl, ..Component::new("library", name, version) }
    }

    /// A file by its path in what it belongs to.
    pub fn file(path: &str, sha256: &str) -> Component {
        Component { hashes: vec![hash(sha256)], reference: format!("file:{path}"), ..Component::new("file", path, "") }
    }

    pub fn property(&mut self, name: &str, value: &str) {
        self.properties.push(json!({"name": name, "value": value}));
    }

    /// An SPDX expression (PEP 639), or else what the distribution calls its licence in a line.
    pub fn licence(&mut self, expression: Option<&str>, name: Option<&str>) {
        let filled = |text: &&str| !text.is_empty() && !text.contains('\n') && *text != "UNKNOWN";
        self.licenses = match (expression.filter(filled), name.filter(filled)) {
            (Some(expression), _) => vec![json!({"expression": expression})],
            (None, Some(name)) => vec![json!({"license": {"name": name}})],
            (None, None) => Vec::new(),
        };
    }

    /// Takes over what the builder of a wheel wrote into it (PEP 770): crates, bundled libraries' packages.
    pub fn adopt(&mut self, sbom: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Theirs {
            #[serde(default)]
            components: Vec<Component>,
        }
        let theirs: Theirs = serde_json::from_str(sbom)?;
        let (own, name) = (self.reference.clone(), normalise(&self.name));
        for part in theirs.components {
            // Some list the wheel itself among its parts, some a package once for each of its files.
            let is_self = part.purl.starts_with("pkg:pypi/") && normalise(&part.name) == name;
            let known = !part.purl.is_empty() && self.components.iter().any(|known| known.purl == part.purl);
            if is_self || known {
                continue;
            }
            self.components.push(Component {
                // Unique in this document, whatever it was in theirs.
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

/// As a package URL spells a version or a name.
pub fn escaped(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b".-_~:".contains(&c);
    text.bytes().map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}
