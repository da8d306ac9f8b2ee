//! The published JSON Schema of `matrix.yaml` and the reference of its fields. Both are generated from the types and
//! doc comments of this crate, and committed; the tests here compare them.

mod page;
mod scalars;

pub use scalars::{AbiOrName, PlatformName};
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

use crate::schema::Matrix;

const SCHEMA: &str = "docs/reference/matrix.schema.json";

/// The JSON Schema of `matrix.yaml`. Draft 7 is what editors support best.
fn schema() -> Value {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(join_lines));
    let mut schema = settings.into_generator().into_root_schema_for::<Matrix>();
    schema.insert("title".to_owned(), json!("matrix.yaml"));
    schema.to_value()
}

/// A doc comment is wrapped at the width of the source file; a description has a line for each paragraph.
fn join_lines(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
}

#[test]
fn the_published_schema_is_up_to_date() {
    let text = format!("{:#}\n", schema());
    fixture::generated::compare(SCHEMA, &text).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_reference_is_up_to_date() {
    let text = page::render(&schema());
    fixture::generated::compare("docs/reference/matrix.md", &text).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_type_and_field_has_a_description() {
    fn described(name: &str, schema: &Value) {
        assert!(schema["description"].is_string(), "{name} has no doc comment");
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(schema["description"].is_string(), "{name}.{field} has no doc comment");
        }
    }
    let schema = schema();
    described("Matrix", &schema);
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        described(name, definition);
    }
}
