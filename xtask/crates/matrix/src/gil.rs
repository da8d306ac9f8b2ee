//! Decides whether an image is in the GIL state that it promises. Image builds, `verify` and `test` share these
//! rules.
//!
//! A process of a free-threaded interpreter starts without the GIL and enables it permanently when it imports an
//! undeclared module. `PYTHON_GIL` overrides this. An interpreter with a GIL always has it enabled. The promises
//! therefore mean:

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use base::ui::quoted;

/// The effective state of the GIL in a running image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "gil-state"))]
pub enum GilState {
    /// The GIL is enabled.
    #[serde(rename = "on")]
    On,
    /// The GIL is disabled, and every module declares that it runs without it. Free-threaded ABIs only.
    #[serde(rename = "off")]
    Off,
    /// The GIL is disabled only because `env` sets `PYTHON_GIL: "0"`. Free-threaded ABIs only.
    #[serde(rename = "forced off")]
    ForcedOff,
}

impl std::fmt::Display for GilState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            GilState::On => "on",
            GilState::Off => "off",
            GilState::ForcedOff => "forced off",
        })
    }
}

/// Report of `docker/gil_probe.py`, whose docstring describes the format.
#[derive(Debug, Clone, Deserialize)]
pub struct GilReport {
    pub interpreter: ProbedInterpreter,
    pub distributions: Vec<ProbedDistribution>,
    pub effective: EffectiveGil,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ProbedInterpreter {
    pub version: String,
    pub free_threaded: bool,
    pub python_gil: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ProbedDistribution {
    pub name: String,
    pub version: String,
    pub modules: Vec<ProbedModule>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ProbedModule {
    pub name: String,
    /// `declared`, `undeclared`, `error`, or `not-applicable` for an interpreter with a GIL.
    pub status: String,
    /// Reason why it cannot be loaded.
    pub error: Option<String>,
    /// Result when the imports of the image imported it: `loaded`, `failed`, or `None` if they did not.
    #[serde(default)]
    pub reached: Option<String>,
    /// Reason why that import failed.
    #[serde(default)]
    pub reached_error: Option<String>,
}

/// State of a process that imported all import names of the image.
#[derive(Debug, Clone, Deserialize)]
pub struct EffectiveGil {
    /// `off`, `on`, `forced off` or `error`.
    pub state: String,
    pub switched_on_by: Vec<String>,
    pub error: Option<String>,
}

impl GilReport {
    /// Returns the names of the modules with this status.
    pub fn modules(&self, status: &str) -> Vec<&str> {
        let modules = self.distributions.iter().flat_map(|distribution| &distribution.modules);
        modules.filter(|module| module.status == status).map(|module| module.name.as_str()).collect()
    }

    /// Returns one line for each undeclared module and each module that cannot be loaded.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for ProbedDistribution { name, version, modules } in &self.distributions {
            for module in modules {
                if module.status == "undeclared" {
                    lines.push(format!("undeclared: {} ({name} {version})", module.name));
                }
                if let Some(why) = module.not_loadable() {
                    lines.push(format!("not loadable: {} ({name} {version}): {why}", module.name));
                }
            }
        }
        lines
    }

    /// Returns `module: reason` for each module that cannot be loaded and that no import of the image reaches.
    pub fn not_loadable(&self) -> Vec<String> {
        let modules = self.distributions.iter().flat_map(|distribution| &distribution.modules);
        modules.filter_map(|module| Some(format!("{}: {}", module.name, module.not_loadable()?))).collect()
    }

    /// Returns the shared libraries that the loader did not find when the imports of the image ran.
    pub fn missing_libraries(&self) -> Vec<&str> {
        let modules = self.distributions.iter().flat_map(|distribution| &distribution.modules);
        let reached = modules.filter(|module| module.reached.as_deref() == Some("failed"));
        let errors = reached.filter_map(|module| module.reached_error.as_deref().or(module.error.as_deref()));
        errors.chain(self.effective.error.as_deref()).filter_map(missing_library).collect()
    }

    /// Checks the promise of the image. The error names the module that breaks it and a remedy.
    pub fn check_promise(&self, promise: GilState) -> Result<()> {
        for module in self.distributions.iter().flat_map(|distribution| &distribution.modules) {
            if module.reached.as_deref() == Some("failed") {
                let why = module.reached_error.as_deref().or(module.error.as_deref()).unwrap_or("no reason given");
                bail!(
                    "the extension module `{}` cannot be loaded, and an import of the image reaches it: {why}{}",
                    module.name,
                    missing_library(why).map(advice).unwrap_or_default()
                );
            }
        }
        if let Some(error) = &self.effective.error {
            let advice = missing_library(error).map(advice).unwrap_or_default();
            bail!("the image cannot import its packages: {error}{advice}");
        }
        let undeclared = self.modules("undeclared");
        let names = quoted(&undeclared);
        if promise == GilState::Off && !undeclared.is_empty() {
            bail!(
                "the image promises `gil: off`, but {names} does not declare that it runs without the GIL and \
                 enables it when it is imported: remove it from the image, or promise `forced off` with \
                 `PYTHON_GIL: \"0\"` in `env`"
            );
        }
        if self.effective.state == promise.to_string() {
            return Ok(());
        }
        let by = match (self.effective.switched_on_by.first(), self.effective.state.as_str()) {
            (Some(module), "on") => format!(", enabled by `{module}`"),
            _ => String::new(),
        };
        let unreached = promise != GilState::Off && self.effective.state == "off" && !undeclared.is_empty();
        let advice = if unreached {
            format!(
                ": no import of the image reaches {names}, which would enable it; add the import that does to \
                 `import` in matrix.yaml, or remove the package from the image"
            )
        } else if promise == GilState::ForcedOff && self.effective.state == "off" {
            ": every module declares that it runs without the GIL, so `PYTHON_GIL` is not needed; promise `off`"
                .to_owned()
        } else {
            ": correct `gil` in matrix.yaml, or what the image contains".to_owned()
        };
        bail!("the image promises `gil: {promise}`, but the GIL is {}{by}{advice}", self.effective.state)
    }
}

impl ProbedModule {
    /// Returns in one line why the module cannot be loaded; `None` if it can.
    pub fn not_loadable(&self) -> Option<String> {
        let reached = self.reached_error.as_deref().filter(|_| self.reached.as_deref() == Some("failed"));
        let text = reached.or(self.error.as_deref())?;
        // The text comes from the module: it may be long, have several lines, or contain control characters.
        let line = text.lines().next().unwrap_or_default();
        Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
    }
}

/// Returns the library that the loader did not find; `None` for other errors.
fn missing_library(error: &str) -> Option<&str> {
    let (library, _) = error.split_once(": cannot open shared object file")?;
    library.rsplit([' ', '\'']).next().filter(|name| !name.is_empty() && !name.contains('/'))
}

fn advice(library: &str) -> String {
    format!(
        "; a wheel for manylinux may expect `{library}` of the system: add the Debian package that contains it to the set \
         that `runtime_apt` of the package names (docs/builds.md)"
    )
}

/// GIL state observed in one process of an image.
#[derive(Debug, Clone, Copy)]
pub struct ProcessGil<'a> {
    /// Whether the GIL was enabled at the start; `None` if the process ended without a report.
    pub at_start: Option<bool>,
    pub at_end: Option<bool>,
    /// Undeclared modules that the process imported.
    pub undeclared: &'a [String],
}

/// GilRule that each process of an image must follow, derived from the image's promise.
#[derive(Debug, Clone, Copy)]
pub struct GilRule {
    promise: GilState,
    /// Whether the GIL is always enabled, whatever the process imports.
    always_on: bool,
}

impl GilRule {
    /// Returns the rule for an image. `python_gil` is the value of `PYTHON_GIL` in the image's environment.
    pub fn new(promise: GilState, free_threaded: bool, python_gil: Option<&str>) -> GilRule {
        GilRule { promise, always_on: !free_threaded || python_gil == Some("1") }
    }

    /// Returns how the process breaks the promise; `None` if it keeps it.
    pub fn violation(&self, process: &ProcessGil) -> Option<String> {
        let names = quoted(process.undeclared);
        match self.promise {
            GilState::Off | GilState::ForcedOff if process.at_start == Some(true) => {
                Some("the GIL was on at the start".to_owned())
            }
            GilState::Off | GilState::ForcedOff if process.at_end == Some(true) => Some(match names.is_empty() {
                true => "the GIL was on".to_owned(),
                false => format!("the GIL was on, enabled by {names}"),
            }),
            GilState::On if self.always_on && process.at_start == Some(false) => {
                Some("the GIL was off at the start".to_owned())
            }
            GilState::On if self.always_on && process.at_end == Some(false) => Some("the GIL was off".to_owned()),
            GilState::On if process.at_end == Some(false) && !names.is_empty() => {
                Some(format!("the GIL was off, although the undeclared {names} was imported"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
