//! Defaults of the fields of `matrix.yaml` that describe the tools: `root`, `apt`, `sources`, `tools`, `abis`,
//! `tsan` and `ci`.

use std::fmt;

use base::ui::quoted;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IntoDeserializer as _, MapAccess, Visitor};

use crate::abi::Abi;
use crate::debian::{AptSet, Root};
use crate::tool::{Crate, Source, Tool};
use crate::tsan::Tsan;
use crate::words::{self, Word};

/// The text of the defaults, generated from the `matrix.yaml` of this project.
const DEFAULTS: &str = include_str!("defaults.yaml");

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    pub root: Root,
    pub apt: Vec<AptSet>,
    pub sources: Vec<Source>,
    pub tools: Vec<Tool>,
    pub abis: Vec<Abi>,
    pub tsan: Tsan,
    pub ci: CiDefaults,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CiDefaults {
    pub runner: Word,
    pub checks: Vec<Tool>,
    pub deny: Crate,
}

/// Reads the defaults. Their scalars have ordinals that no scalar of a `matrix.yaml` has.
#[expect(clippy::expect_used, reason = "the text is part of the program, and a test reads it")]
pub fn read() -> Defaults {
    words::read_embedded(DEFAULTS).expect("the defaults are valid")
}

/// Reads a list of ABIs, each a mapping or the name of a default ABI.
pub fn abis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Abi>, D::Error> {
    let rows = Vec::<AbiOrName>::deserialize(deserializer)?;
    Ok(rows.into_iter().map(|AbiOrName(abi)| abi).collect())
}

struct AbiOrName(Abi);

impl<'de> Deserialize<'de> for AbiOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Row;

        impl<'de> Visitor<'de> for Row {
            type Value = AbiOrName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping with `id`, `python` and `interpreter`, or the name of a default ABI")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AbiOrName, E> {
                let id = Word::deserialize(text.into_deserializer())?;
                let defaults = read().abis;
                let choices = quoted(defaults.iter().map(|abi| &abi.id));
                let found = defaults.into_iter().find(|abi| abi.id == *id);
                let found = found.ok_or_else(|| {
                    E::custom(format!("`{id}` is not a default ABI, which are {choices}: write it as a mapping"))
                })?;
                Ok(AbiOrName(Abi { id, ..found }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AbiOrName, A::Error> {
                Abi::deserialize(MapAccessDeserializer::new(map)).map(AbiOrName)
            }
        }

        deserializer.deserialize_any(Row)
    }
}

pub fn root() -> Root {
    read().root
}

pub fn tsan() -> Tsan {
    read().tsan
}

pub fn runner() -> Word {
    read().ci.runner
}

pub fn deny() -> Crate {
    read().ci.deny
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_yaml::{Mapping, Value};

    use crate::{Matrix, place};

    const FILE: &str = "xtask/crates/matrix/src/defaults.yaml";

    const HEADER: &str = "\
# What a matrix.yaml without these fields gets. Generated from the matrix.yaml of this project: edit that file, then run
# `UPDATE_REFERENCE=1 cargo test reference`.
";

    /// Returns the part of this project's matrix that does not depend on its packages; `None` for a matrix that takes
    /// fields from the defaults itself, which a clone with other packages may have.
    fn part_of_the_own_matrix() -> Option<Value> {
        let own: Mapping = serde_yaml::from_str(&fixture::own_matrix()).unwrap();
        let mut part = Mapping::new();
        for field in ["root", "apt", "sources", "tools", "abis", "tsan", "ci"] {
            part.insert(field.into(), own.get(field)?.clone());
        }
        // Only the sets that interpreters need, and `compile`, which the sets of packages include.
        let matrix = Matrix::parse(&fixture::own_matrix(), "matrix.yaml").unwrap();
        let mut sets = BTreeSet::from(["compile"]);
        for abi in &matrix.abis {
            let from = abi.interpreter.source.iter().flat_map(|from| [&from.build_apt, &from.runtime_apt]);
            let debian = abi.interpreter.distribution.iter().flat_map(|from| [&from.devel_apt, &from.runtime_apt]);
            sets.extend(from.chain(debian).flat_map(|id| matrix.apt_sets(id)).map(|set| &*set.id));
        }
        let tsan = [&matrix.tsan.build_apt, &matrix.tsan.runtime_apt, &matrix.tsan.rust_apt];
        sets.extend(tsan.into_iter().flat_map(|id| matrix.apt_sets(id)).map(|set| &*set.id));
        let apt = part["apt"].as_sequence_mut().unwrap();
        apt.retain(|set| sets.contains(set["id"].as_str().unwrap()));
        part["ci"].as_mapping_mut().unwrap().remove("publish");
        Some(Value::Mapping(part))
    }

    #[test]
    fn the_reference_of_the_defaults_is_up_to_date() {
        let Some(part) = part_of_the_own_matrix() else { return };
        let text = format!("{HEADER}{}", serde_yaml::to_string(&part).unwrap());
        fixture::generated::compare(FILE, &text).unwrap_or_else(|error| panic!("{error}"));
    }

    const MINIMAL: &str = "name: demo\npackages: []\nimages: [{tag: 314t, abi: cp314t, packages: [], gil: \"off\"}]\n";

    #[test]
    fn a_minimal_matrix_is_complete() {
        let matrix = Matrix::parse(MINIMAL, "matrix.yaml").unwrap();
        assert!(matrix.abi("cp314t").is_some() && matrix.tools.iter().any(|tool| tool.name == *"uv"));
        assert!(!matrix.apt_packages("compile").is_empty());
        assert_eq!(matrix.ci.publish.len(), 0);
        // A default has no position in the file; a value of the file has.
        assert!(place(MINIMAL, matrix.tools[0].version.ordinal).is_none());
        assert_eq!(place(MINIMAL, matrix.images[0].abi.ordinal).unwrap().line, 3);
    }

    #[test]
    fn own_rows_replace_defaults_of_the_same_name_and_are_added_to_the_others() {
        let text = format!(
            "{MINIMAL}apt: [{{id: compile, packages: [gcc]}}, {{id: more, include: [compile], packages: [zlib1g-dev]}}]\n\
             tools: [{{name: uv, version: 9.9, sha256: {}}}]\n",
            "a".repeat(64)
        )
        .replace("9.9", "\"9.9\"");
        let matrix = Matrix::parse(&text, "matrix.yaml").unwrap();
        assert_eq!(matrix.apt_packages("more"), ["gcc", "zlib1g-dev"]);
        assert!(matrix.apt.iter().any(|set| set.id == *"cpython-build"));
        let uv: Vec<&str> = matrix.tools.iter().filter(|tool| tool.name == *"uv").map(|tool| &*tool.version).collect();
        assert_eq!(uv, ["9.9"]);
        assert!(matrix.tools.iter().any(|tool| tool.name == *"pip"));
        assert_eq!(place(&text, matrix.tools[0].version.ordinal).unwrap().line, 5);
    }

    #[test]
    fn a_default_abi_may_be_given_by_its_name() {
        let text = format!("abis: [cp314t]\n{MINIMAL}");
        let matrix = Matrix::parse(&text, "matrix.yaml").unwrap();
        assert_eq!(matrix.abis.len(), 1);
        assert_eq!(matrix.abis[0].interpreter_name(), "3.14t");
        assert_eq!(place(&text, matrix.abis[0].id.ordinal).unwrap().line, 1);
        // The scalars after it have their positions, too.
        assert_eq!(place(&text, matrix.name.ordinal).unwrap().line, 2);
        let error = Matrix::parse(&text.replacen("cp314t", "cp399", 1), "matrix.yaml").unwrap_err().to_string();
        assert!(error.starts_with("matrix.yaml:1:8: ") && error.contains("`cp314t`: write it as a mapping"), "{error}");
    }

    #[test]
    fn what_no_edit_of_the_file_can_change_is_left_out() {
        let text = format!("{MINIMAL}tools: [{{name: uv, version: \"9.9\", sha256: {}}}]\n", "a".repeat(64));
        let own = Matrix::parse(&text, "matrix.yaml").unwrap().without_defaults();
        assert_eq!(own.tools.len(), 1);
        assert!(own.apt.is_empty() && own.sources.is_empty() && own.ci.checks.is_empty() && own.root.image.is_none());
        assert!(crate::is_embedded(own.ci.deny.version.ordinal) && !crate::is_embedded(own.tools[0].version.ordinal));
    }

    #[test]
    fn given_abis_are_the_only_ones() {
        let abi = "{id: cp311, python: \"3.11\", interpreter: {distribution: {runtime_apt: python3.11-runtime, devel_apt: python3.11-devel}}}";
        let text = format!("name: demo\npackages: []\nimages: []\nabis: [{abi}]\n");
        assert_eq!(Matrix::parse(&text, "matrix.yaml").unwrap().abis.len(), 1);
    }
}
