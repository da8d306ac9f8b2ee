//! Cargo configuration of a package, whose flags are kept in addition to those of this project.
//!
//! Cargo and maturin run in the top folder of the source, so the configuration file there is the only one of the
//! package that is used. Cargo itself applies its other tables (`[profile]`, `[patch]`, `[source]`, `[env]`). Format:
//! <https://doc.rust-lang.org/cargo/reference/config.html>.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use cargo_platform::{Cfg, CfgExpr};
use serde::Deserialize;

/// Relevant part of `.cargo/config.toml` in the top folder of a package's source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CargoConfig {
    include: Option<toml::Value>,
    build: Build,
    target: BTreeMap<String, Target>,
    env: BTreeMap<String, Variable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Build {
    rustc: Option<toml::Value>,
    rustflags: Flags,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    linker: Option<toml::Value>,
    rustflags: Flags,
}

/// Cargo splits a string at spaces.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Flags {
    Text(String),
    List(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Variable {
    Value(String),
    Table {
        value: String,
        #[serde(default)]
        force: bool,
    },
}

impl Default for Flags {
    fn default() -> Self {
        Flags::List(Vec::new())
    }
}

impl Flags {
    fn list(&self) -> Vec<String> {
        match self {
            Flags::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Flags::List(list) => list.clone(),
        }
    }
}

impl Variable {
    fn value(&self) -> &str {
        match self {
            Variable::Value(value) | Variable::Table { value, .. } => value,
        }
    }

    fn is_forced(&self) -> bool {
        matches!(self, Variable::Table { force: true, .. })
    }
}

/// Returns the text of the package's configuration, or an empty text if there is none. Like Cargo, prefers the file
/// name without an extension.
pub fn text(source: &Path) -> Result<String> {
    let names = [".cargo/config", ".cargo/config.toml"];
    let Some(path) = names.iter().map(|name| source.join(name)).find(|path| path.is_file()) else {
        return Ok(String::new());
    };
    std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Tables that affect compilation.
const EFFECTIVE: [&str; 8] = ["build", "env", "include", "patch", "profile", "source", "target", "unstable"];

/// Fails for a working copy below a folder with a configuration that Cargo would use there. Only the source is
/// copied, so its flags would be lost. Only folders of the same git checkout are checked.
pub fn refuse_above(folder: &Path) -> Result<()> {
    let folder = folder.canonicalize()?;
    let Some(top) = folder.ancestors().find(|above| above.join(".git").exists()) else { return Ok(()) };
    refuse_between(&folder, top)
}

/// Fails if a configuration file in a folder from `top` to the one above `folder` has settings that would be lost.
pub fn refuse_between(folder: &Path, top: &Path) -> Result<()> {
    for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(top)) {
        let table: toml::Table = toml::from_str(&text(above)?)
            .with_context(|| format!("cannot read `.cargo/config.toml` in `{}`", above.display()))?;
        if let Some(name) = EFFECTIVE.iter().find(|name| table.contains_key(**name)) {
            bail!(
                "`[{name}]` of `.cargo/config.toml` in `{}` would be lost, because it is outside `{}`: set `path` in \
                 matrix.yaml to the folder that contains it, and `manifest-path` under `[tool.maturin]` in a pyproject.toml there",
                above.display(),
                folder.display()
            );
        }
    }
    Ok(())
}

impl CargoConfig {
    /// Parses a configuration. Fails if it contains settings that cannot be kept.
    pub fn parse(text: &str) -> Result<CargoConfig> {
        let config: CargoConfig = toml::from_str(text)?;
        ensure!(
            config.include.is_none(),
            "`include` is not supported here, because flags in included files would be lost: move them to this file"
        );
        ensure!(
            config.build.rustc.is_none(),
            "`build.rustc` selects a different compiler than the one in the wheel's key: remove it"
        );
        Ok(config)
    }

    /// Returns the flags for the target by Cargo's rules: those of the target and of each matching `cfg(…)`, else
    /// those of `[build]`.
    pub fn rustflags(&self, target: &str, cfgs: &[Cfg]) -> Result<Vec<String>> {
        let mut flags = self.target.get(target).map(|target| target.rustflags.list()).unwrap_or_default();
        for (name, target) in &self.target {
            let expression = name.strip_prefix("cfg(").and_then(|rest| rest.strip_suffix(')'));
            if let Some(expression) = expression {
                let expression =
                    CfgExpr::from_str(expression).with_context(|| format!("cannot read `target.'{name}'`"))?;
                if expression.matches(cfgs) {
                    flags.extend(target.rustflags.list());
                }
            }
        }
        if flags.is_empty() {
            flags = self.build.rustflags.list();
        }
        // All notations: `-Clinker=x`, `-C linker=x`, `--codegen=linker=x`, `--codegen linker=x`.
        let joined = flags.join(" ").replace("--codegen=", "-C").replace("--codegen ", "-C").replace("-C ", "-C");
        if let Some(flag) = joined.split(' ').find(|flag| flag.starts_with("-Clinker=")) {
            bail!("the flag `{flag}` selects a different linker than zig, which `with: maturin` requires: remove it");
        }
        Ok(flags)
    }

    /// Returns whether the configuration sets a linker for the target. It is replaced by zig.
    pub fn has_linker(&self, target: &str) -> bool {
        self.target.get(target).is_some_and(|target| target.linker.is_some())
    }

    /// Returns the package's flags for C (`CFLAGS`) or C++ (`CXXFLAGS`) code: the first variable that the crate `cc`
    /// looks for. `variable` is the variable that this project sets for `target`.
    pub fn c_flags(&self, target: &str, name: &str, variable: &str) -> Result<Option<&str>> {
        ensure!(
            !self.env.get(variable).is_some_and(Variable::is_forced),
            "`env.{variable}` with `force = true` would replace the flags that this project adds: remove `force`"
        );
        let names = [format!("{name}_{target}"), variable.to_owned(), format!("TARGET_{name}"), name.to_owned()];
        Ok(names.iter().find_map(|name| self.env.get(name)).map(Variable::value))
    }

    /// Fails if a variable of `[env]` would be overridden by a variable that this project sets.
    pub fn refuse_replaced<'a>(&self, set: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for name in set {
            ensure!(
                self.env.get(name).is_none_or(Variable::is_forced),
                "`env.{name}` would be lost, because this project sets `{name}` for every build: \
                 remove it, or add `force = true`"
            );
        }
        Ok(())
    }
}

/// Parses the output of `rustc --print cfg`.
pub fn parse_cfgs(printed: &str) -> Result<Vec<Cfg>> {
    printed.lines().map(|line| Cfg::from_str(line).with_context(|| format!("cannot read the cfg `{line}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "x86_64-unknown-linux-gnu";

    fn flags(text: &str) -> Result<Vec<String>> {
        let cfgs = parse_cfgs("unix\ntarget_os=\"linux\"\ntarget_arch=\"x86_64\"")?;
        CargoConfig::parse(text)?.rustflags(TARGET, &cfgs)
    }

    #[test]
    fn flags_are_selected_by_cargos_rules() {
        let build = "[build]\nrustflags = [\"--cfg\", \"of_build\"]\n";
        assert_eq!(flags("").unwrap(), [""; 0]);
        assert_eq!(flags(build).unwrap(), ["--cfg", "of_build"]);
        assert_eq!(flags("build.rustflags = '--cfg a  -Copt-level=2'").unwrap(), ["--cfg", "a", "-Copt-level=2"]);
        // Flags of a target replace those of `[build]`.
        let target = format!("{build}[target.{TARGET}]\nrustflags = [\"-Ctarget-cpu=haswell\"]\n");
        assert_eq!(flags(&target).unwrap(), ["-Ctarget-cpu=haswell"]);
        let other = format!("{build}[target.aarch64-unknown-linux-gnu]\nrustflags = ['-Cother']\n");
        assert_eq!(flags(&other).unwrap(), ["--cfg", "of_build"]);
        // All matching entries are joined, that of the triple first.
        let both = format!("[target.'cfg(unix)']\nrustflags = ['-Cunix']\n{target}");
        assert_eq!(flags(&both).unwrap(), ["-Ctarget-cpu=haswell", "-Cunix"]);
        let cfg = "[target.'cfg(all(target_os = \"linux\", not(target_arch = \"x86_64\")))']\nrustflags = ['-Carm']";
        assert_eq!(flags(cfg).unwrap(), [""; 0]);
    }

    #[test]
    fn settings_that_cannot_be_kept_are_errors() {
        let refused = |text: &str| format!("{:#}", flags(text).unwrap_err());
        assert!(refused("include = ['other.toml']").contains("`include` is not supported"));
        assert!(refused("build.rustc = 'other'").contains("`build.rustc` selects a different compiler"));
        assert!(
            refused("build.rustflags = ['-C', 'linker=clang']").contains("`-Clinker=clang` selects a different linker")
        );
        assert!(refused("build = 3").contains("build"));
    }

    #[test]
    fn c_flags_are_found_by_the_rules_of_the_crate_cc() {
        let c_flags = |text: &str| {
            let config = CargoConfig::parse(text).unwrap();
            let found = config.c_flags(TARGET, "CFLAGS", "CFLAGS_x86_64_unknown_linux_gnu");
            found.map(|flags| flags.unwrap_or_default().to_owned()).map_err(|error| error.to_string())
        };
        assert_eq!(c_flags("").unwrap(), "");
        assert_eq!(c_flags("[env]\nCFLAGS = '-DA'\nTARGET_CFLAGS = {value = '-DB'}").unwrap(), "-DB");
        assert_eq!(c_flags("[env]\nCFLAGS = {value = '-DA', force = true}").unwrap(), "-DA");
        let forced = "[env]\nCFLAGS_x86_64_unknown_linux_gnu = {value = '-DA', force = true}";
        assert!(c_flags(forced).unwrap_err().contains("remove `force`"));
    }

    #[test]
    fn a_configuration_above_the_working_copy_is_an_error() {
        let top = std::env::temp_dir().join(format!("xtask-above-{}", std::process::id()));
        let folder = top.join("bindings/python");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(top.join(".cargo")).unwrap();
        let write = |text: &str| std::fs::write(top.join(".cargo/config.toml"), text).unwrap();
        write("[build]\nrustflags = ['--cfg', 'a']\n");
        assert!(refuse_above(&folder).is_ok(), "both are not in the same checkout");
        std::fs::create_dir(top.join(".git")).unwrap();
        assert!(refuse_above(&folder).unwrap_err().to_string().starts_with("`[build]` of `.cargo/config.toml`"));
        assert!(refuse_above(&top).is_ok(), "its own configuration is copied with it");
        write("[alias]\nxtask = 'run'\n");
        assert!(refuse_above(&folder).is_ok(), "this does not affect compilation");
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn variables_that_would_be_lost_are_errors() {
        let config = |text: &str| CargoConfig::parse(text).unwrap().refuse_replaced(["SOURCE_DATE_EPOCH"]);
        assert!(config("env.OTHER = '1'").is_ok());
        assert!(config("env.SOURCE_DATE_EPOCH = {value = '1', force = true}").is_ok());
        let error = config("env.SOURCE_DATE_EPOCH = '1'").unwrap_err().to_string();
        assert!(error.starts_with("`env.SOURCE_DATE_EPOCH` would be lost"), "{error}");
    }
}
