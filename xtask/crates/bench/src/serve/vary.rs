//! Variations of configurations: the same service with other values of environment variables.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

use base::UsageError;
use matrix::ServeConfig;

/// Environment variable and the values to measure, as `NAME=VALUE,VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variation {
    name: String,
    values: Vec<String>,
}

impl FromStr for Variation {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Variation> {
        let hint = "write a variable and its values, as THREADS=2,16";
        let (name, values) = text.split_once('=').context(hint)?;
        let values: Vec<String> = values.split(',').map(str::to_owned).collect();
        let named = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
        let valid = values.iter().all(|value| !value.is_empty() && !value.chars().any(char::is_control));
        ensure!(named && valid, hint);
        Ok(Variation { name: name.to_owned(), values })
    }
}

/// Returns each configuration, followed by its variations. Each of them changes one variable.
pub fn varied(configs: &[&ServeConfig], variations: &[Variation]) -> Result<Vec<ServeConfig>> {
    let mut all: Vec<ServeConfig> = Vec::new();
    for config in configs {
        all.push((*config).clone());
        for Variation { name, values } in variations {
            let each = values.iter().map(|value| variation(config, name, value));
            all.extend(each.collect::<Result<Vec<_>>>()?);
        }
    }
    let mut ids = BTreeSet::new();
    for config in &all {
        let why = || format!("--vary makes two configurations with the id `{}`; write each value once", config.id);
        ensure!(ids.insert(&*config.id), UsageError(why()));
    }
    Ok(all)
}

fn variation(config: &ServeConfig, name: &str, value: &str) -> Result<ServeConfig> {
    // The id becomes part of file names.
    let id: String = format!("{}-{name}-{value}", config.id)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect();
    let mut other = config.clone();
    other.id = serde_json::from_value(id.into())?;
    other.title = format!("{}, {name}={value}", config.title);
    other.env.insert(name.to_owned(), value.to_owned());
    Ok(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix::Matrix;

    fn of(asked: &[&str], variations: &[&str]) -> Result<Vec<ServeConfig>> {
        let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
        let configs = matrix.bench.unwrap().serve.unwrap().configs;
        let chosen: Vec<&ServeConfig> = configs.iter().filter(|config| asked.contains(&&*config.id)).collect();
        let variations: Vec<Variation> = variations.iter().map(|text| text.parse().unwrap()).collect();
        varied(&chosen, &variations)
    }

    #[test]
    fn each_variation_changes_one_variable() {
        let all = of(&["311", "314t"], &["THREADS=2,16", "LOOP=a/b"]).unwrap();
        let ids: Vec<&str> = all.iter().map(|config| &*config.id).collect();
        let expected = ["", "-THREADS-2", "-THREADS-16", "-LOOP-a-b"];
        assert_eq!(ids, ["311", "314t"].map(|id| expected.map(|end| format!("{id}{end}"))).concat());
        assert_eq!(all[3].env.get("LOOP").unwrap(), "a/b");
        assert!(!all[3].env.contains_key("THREADS") && all[3].title.ends_with(", LOOP=a/b"), "{:?}", all[3]);
        assert_eq!(of(&["311"], &[]).unwrap().len(), 1);
    }

    #[test]
    fn values_that_give_the_same_id_are_refused() {
        let error = of(&["311"], &["LOOP=a/b,a-b"]).unwrap_err();
        assert!(
            error.downcast_ref::<UsageError>().is_some() && error.to_string().contains("`311-LOOP-a-b`"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_variation_is_refused() {
        for wrong in ["", "THREADS", "=2", "THREADS=", "THREADS=2,,4", "A B=2", "A=\n"] {
            let error = wrong.parse::<Variation>().unwrap_err().to_string();
            assert!(error.contains("THREADS=2,16"), "{wrong}: {error}");
        }
    }
}
