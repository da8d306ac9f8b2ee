//! What the scalars of `matrix.yaml` may look like, as patterns for editors. The tool checks them itself, in `words.rs`.

use std::borrow::Cow;

use base::platform::Platform;
use base::ui::quoted;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::abi::Abi;
use crate::words::{AptName, Digest, Location, Module, Requirement, Version, Word};

macro_rules! scalars {
    ($($scalar:ident $name:literal $types:tt $pattern:literal $description:literal;)*) => {$(
        impl JsonSchema for $scalar {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": $types, "pattern": $pattern, "description": $description})
            }
        }
    )*};
}

scalars! {
    Word "name" ["string", "integer"] "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
        "Letters, digits, `.`, `_` and `-`, with a letter or digit first; at most 128 characters.";
    Version "version" ["string", "integer"] "^[0-9][A-Za-z0-9.+!_-]{0,127}$"
        "A version (PEP 440). One that YAML would read as a number stands in quotes: `\"26.3\"`.";
    Digest "SHA-256" "string" "^[0-9a-f]{64}$"
        "A SHA-256 digest: 64 hexadecimal digits in lower case, as `sha256sum` prints them.";
    Location "location" "string" "^[A-Za-z0-9/:._+@~%=][A-Za-z0-9/:._+@~%=-]*$"
        "A path, a URL or an image reference: letters, digits and `/:._-+@~%=`.";
    Module "module" "string" "^[^\\s.-]+(\\.[^\\s.-]+)*$"
        "The name of a Python module as `import` takes it: `numpy`, `google.cloud`.";
    Requirement "requirement" "string" "^[A-Za-z0-9].*$"
        "A requirement (PEP 508): `numpy>=2; python_version>\"3.11\"`.";
    AptName "debian-package" "string" "^[a-z0-9][A-Za-z0-9+.=:~-]{0,127}$"
        "The name of a Debian package, with an optional version: `libssl-dev`, `libssl-dev=3.0.17-1`.";
}

/// The name of a [`Platform`], a type that is not described by serde.
pub struct PlatformName;

impl JsonSchema for PlatformName {
    fn schema_name() -> Cow<'static, str> {
        "platform".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Platform::ALL.map(Platform::oci);
        let description = format!("A platform as OCI images name it: {}.", quoted(names));
        json_schema!({"type": "string", "enum": names, "default": Platform::default().oci(), "description": description})
    }
}

/// An entry of `abis`: a mapping, or the name of a default ABI.
pub struct AbiOrName;

impl JsonSchema for AbiOrName {
    fn schema_name() -> Cow<'static, str> {
        "abi".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = [generator.subschema_for::<Abi>(), generator.subschema_for::<Word>()];
        json_schema!({"anyOf": choices})
    }
}
