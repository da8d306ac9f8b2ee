//! The package's own Cargo configuration: its flags are kept beside those that this project adds.
//!
//! Cargo and maturin run in the top folder of the source, so the only configuration file of the package
//! that counts is the one there. Everything else in it (`[profile]`, `[patch]`, `[source]`, `[env]`)
//! Cargo applies itself. Format: <https://doc.rust-lang.org/cargo/reference/config.html>.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use cargo_platform::{Cfg, CfgExpr};
use serde::Deserialize;

/// `.cargo/config.toml` in the top folder of a package's source, as far as this project has to know it.
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

/// Cargo splits a text at blanks.
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

/// The text of the package's configuration; empty where it has none. Cargo prefers the name without an
/// extension.
pub fn text(source: &Path) -> Result<String> {
    let names = [".cargo/config", ".cargo/config.toml"];
    let Some(path) = names.iter().map(|name| source.join(name)).find(|path| path.is_file()) else {
        return Ok(String::new());
    };
    std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Tables of a configuration that change what is compiled.
const EFFECTIVE: [&str; 8] = ["build", "env", "include", "patch", "profile", "source", "target", "unstable"];

/// Refuses a working copy below a folder whose configuration Cargo would use there. The source is
/// copied without it, so its flags would be lost. Only folders of the same git checkout are looked at.
pub fn refuse_above(folder: &Path) -> Result<()> {
    let folder = folder.canonicalize()?;
    let Some(top) = folder.ancestors().find(|above| above.join(".git").exists()) else { return Ok(()) };
    for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(top)) {
        let table: toml::Table = toml::from_str(&text(above)?)
            .with_context(|| format!("cannot read `.cargo/config.toml` in `{}`", above.display()))?;
        if let Some(name) = EFFECTIVE.iter().find(|name| table.contains_key(**name)) {
            bail!(
                "`[{name}]` of `.cargo/config.toml` in `{}` would be lost, because it lies outside `{}`: let `path` in \
                 matrix.yaml name the folder that has it, and put `manifest-path` under `[tool.maturin]` into a pyproject.toml there",
                above.display(),
                folder.display()
            );
        }
    }
    Ok(())
}

impl CargoConfig {
    /// Parses a configuration, and refuses one that cannot be kept as it is.
    pub fn parse(text: &str) -> Result<CargoConfig> {
        let config: CargoConfig = toml::from_str(text)?;
        ensure!(
            config.include.is_none(),
            "`include` is not supported here, because flags in included files would be lost: put them into the file itself"
        );
        ensure!(
            config.build.rustc.is_none(),
            "`build.rustc` chooses another compiler than the one that is part of the wheel's key: remove it"
        );
        Ok(config)
    }

    /// The flags for the target that maturin is called with, by Cargo's rules: those of the target and of
    /// each `cfg(…)` that it meets, else those of `[build]`.
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
        // All ways to write it: `-Clinker=x`, `-C linker=x`, `--codegen=linker=x`, `--codegen linker=x`.
        let joined = flags.join(" ").replace("--codegen=", "-C").replace("--codegen ", "-C").replace("-C ", "-C");
        if let Some(flag) = joined.split(' ').find(|flag| flag.starts_with("-Clinker=")) {
            bail!("the flag `{flag}` chooses another linker than zig, which `with: maturin` links with: remove it");
        }
        Ok(flags)
    }

    /// Whether the configuration names a linker for the target; zig takes its place.
    pub fn has_linker(&self, target: &str) -> bool {
        self.target.get(target).is_some_and(|target| target.linker.is_some())
    }

    /// The package's flags for its C code (`CFLAGS`) or C++ code (`CXXFLAGS`): the first variable that
    /// the crate `cc` looks for. `variable` is the name of the one that this project sets for `target`.
    pub fn c_flags(&self, target: &str, name: &str, variable: &str) -> Result<Option<&str>> {
        ensure!(
            !self.env.get(variable).is_some_and(Variable::is_forced),
            "`env.{variable}` with `force = true` would replace the flags that this project adds: remove `force`"
        );
        let names = [format!("{name}_{target}"), variable.to_owned(), format!("TARGET_{name}"), name.to_owned()];
        Ok(names.iter().find_map(|name| self.env.get(name)).map(Variable::value))
    }

    /// Refuses a variable of `[env]` that would be lost, because this project sets it, too.
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

/// What `rustc --print cfg` says of a target.
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
    fn flags_are_chosen_by_cargos_rules() {
        let build = "[build]\nrustflags = [\"--cfg\", \"of_build\"]\n";
        assert_eq!(flags("").unwrap(), [""; 0]);
        assert_eq!(flags(build).unwrap(), ["--cfg", "of_build"]);
        assert_eq!(flags("build.rustflags = '--cfg a  -Copt-level=2'").unwrap(), ["--cfg", "a", "-Copt-level=2"]);
        // Flags of a target replace those of `[build]`.
        let target = format!("{build}[target.{TARGET}]\nrustflags = [\"-Ctarget-cpu=haswell\"]\n");
        assert_eq!(flags(&target).unwrap(), ["-Ctarget-cpu=haswell"]);
        let other = format!("{build}[target.aarch64-unknown-linux-gnu]\nrustflags = ['-Cother']\n");
        assert_eq!(flags(&other).unwrap(), ["--cfg", "of_build"]);
        // All that match are joined, that of the triple first.
        let both = format!("[target.'cfg(unix)']\nrustflags = ['-Cunix']\n{target}");
        assert_eq!(flags(&both).unwrap(), ["-Ctarget-cpu=haswell", "-Cunix"]);
        let cfg = "[target.'cfg(all(target_os = \"linux\", not(target_arch = \"x86_64\")))']\nrustflags = ['-Carm']";
        assert_eq!(flags(cfg).unwrap(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let refused = |text: &str| format!("{:#}", flags(text).unwrap_err());
        assert!(refused("include = ['other.toml']").contains("`include` is not supported"));
        assert!(refused("build.rustc = 'other'").contains("`build.rustc` chooses another compiler"));
        assert!(
            refused("build.rustflags = ['-C', 'linker=clang']").contains("`-Clinker=clang` chooses another linker")
        );
        assert!(refused("build = 3").contains("build"));
    }

    #[test]
    fn flags_for_c_code_are_found_as_the_crate_cc_finds_them() {
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
    fn a_configuration_above_the_working_copy_is_refused() {
        let top = std::env::temp_dir().join(format!("xtask-above-{}", std::process::id()));
        let folder = top.join("bindings/python");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(top.join(".cargo")).unwrap();
        let write = |text: &str| std::fs::write(top.join(".cargo/config.toml"), text).unwrap();
        write("[build]\nrustflags = ['--cfg', 'a']\n");
        assert!(refuse_above(&folder).is_ok(), "there is no checkout that both belong to");
        std::fs::create_dir(top.join(".git")).unwrap();
        assert!(refuse_above(&folder).unwrap_err().to_string().starts_with("`[build]` of `.cargo/config.toml`"));
        assert!(refuse_above(&top).is_ok(), "its own configuration is copied with it");
        write("[alias]\nxtask = 'run'\n");
        assert!(refuse_above(&folder).is_ok(), "this changes nothing that is compiled");
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn variables_that_would_be_lost_are_refused() {
        let config = |text: &str| CargoConfig::parse(text).unwrap().refuse_replaced(["SOURCE_DATE_EPOCH"]);
        assert!(config("env.OTHER = '1'").is_ok());
        assert!(config("env.SOURCE_DATE_EPOCH = {value = '1', force = true}").is_ok());
        let error = config("env.SOURCE_DATE_EPOCH = '1'").unwrap_err().to_string();
        assert!(error.starts_with("`env.SOURCE_DATE_EPOCH` would be lost"), "{error}");
    }
}
