//! Decides whether an image keeps its promise about the GIL: one rule for the proof, for `verify` and for `test`.
//!
//! A process of a free-threaded interpreter starts without the GIL, gets it when it imports an undeclared module, and
//! keeps it. `PYTHON_GIL` overrides both; an interpreter of a GIL build always has it. So the promises mean:
//!
//! | promise | after the imports of the image | in each process, whatever it imports |
//! |---|---|---|
//! | `off` | off, and no module of the image is undeclared | off |
//! | `forced off` | off, with an undeclared module | off |
//! | `on` | on | on if it has imported an undeclared module, or if the GIL is always on |

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use base::ui::quoted;

/// The effective state of the GIL in a running image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
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

/// What `docker/gil_probe.py` reports; its docstring is the description of the format.
#[derive(Debug, Clone, Deserialize)]
pub struct Verdict {
    pub interpreter: Interpreter,
    pub distributions: Vec<Distribution>,
    pub effective: Effective,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Interpreter {
    pub version: String,
    pub free_threaded: bool,
    pub python_gil: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Distribution {
    pub name: String,
    pub version: String,
    pub modules: Vec<Module>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Module {
    pub name: String,
    /// `declared`, `undeclared`, `error`, or `not-applicable` where there always is a GIL.
    pub status: String,
    /// Why it cannot be loaded.
    pub error: Option<String>,
    /// What the imports of the image did with it: `loaded`, `failed`, or nothing.
    #[serde(default)]
    pub reached: Option<String>,
    /// Why it failed there.
    #[serde(default)]
    pub reached_error: Option<String>,
}

/// The process that imports all import names of the image.
#[derive(Debug, Clone, Deserialize)]
pub struct Effective {
    /// `off`, `on`, `forced off` or `error`.
    pub state: String,
    pub switched_on_by: Vec<String>,
    pub error: Option<String>,
}

impl Verdict {
    /// Names of the modules with a status.
    pub fn modules(&self, status: &str) -> Vec<&str> {
        let modules = self.distributions.iter().flat_map(|distribution| &distribution.modules);
        modules.filter(|module| module.status == status).map(|module| module.name.as_str()).collect()
    }

    /// One line for each module that can break a promise: those that are undeclared, and those that cannot be loaded.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Distribution { name, version, modules } in &self.distributions {
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

    /// `module: reason` for each module that cannot be loaded and that no import of the image reaches.
    pub fn not_loadable(&self) -> Vec<String> {
        let modules = self.distributions.iter().flat_map(|distribution| &distribution.modules);
        modules.filter_map(|module| Some(format!("{}: {}", module.name, module.not_loadable()?))).collect()
    }

    /// Whether the image keeps its promise; if not, the error names the module that breaks it and what to do.
    pub fn judge(&self, promise: GilState) -> Result<()> {
        for module in self.distributions.iter().flat_map(|distribution| &distribution.modules) {
            if module.reached.as_deref() == Some("failed") {
                let why = module.reached_error.as_deref().or(module.error.as_deref()).unwrap_or("no reason given");
                bail!(
                    "the extension module `{}` cannot be loaded, and an import of the image reaches it: {why}",
                    module.name
                );
            }
        }
        if let Some(error) = &self.effective.error {
            bail!("the image cannot import its packages: {error}");
        }
        let undeclared = self.modules("undeclared");
        let names = quoted(&undeclared);
        if promise == GilState::Off && !undeclared.is_empty() {
            bail!(
                "the image promises `gil: off`, but {names} does not declare that it runs without the GIL and \
                 switches it on when it is imported: take it out of the image, or promise `forced off` with \
                 `PYTHON_GIL: \"0\"` in `env`"
            );
        }
        if self.effective.state == promise.to_string() {
            return Ok(());
        }
        let by = match (self.effective.switched_on_by.first(), self.effective.state.as_str()) {
            (Some(module), "on") => format!(", switched on by `{module}`"),
            _ => String::new(),
        };
        let unreached = promise != GilState::Off && self.effective.state == "off" && !undeclared.is_empty();
        let advice = if unreached {
            format!(
                ": no import of the image reaches {names}, which would switch it on; add the import that does to \
                 `import` in matrix.yaml, or take the package out of the image"
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

impl Module {
    /// Why it cannot be loaded, in one line; `None` if it can.
    pub fn not_loadable(&self) -> Option<String> {
        let reached = self.reached_error.as_deref().filter(|_| self.reached.as_deref() == Some("failed"));
        let text = reached.or(self.error.as_deref())?;
        // The text is the module's own: further lines, control characters and any length are possible.
        let line = text.lines().next().unwrap_or_default();
        Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
    }
}

/// What was seen of the GIL in one process of an image.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    /// Whether the GIL was on; `None` if the process has ended without a report.
    pub at_start: Option<bool>,
    pub at_end: Option<bool>,
    /// Undeclared modules that the process has imported.
    pub undeclared: &'a [String],
}

/// What an image's promise means for each of its processes.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    promise: GilState,
    /// Whether a process has the GIL whatever it imports.
    always_on: bool,
}

impl Rule {
    /// `python_gil` is the variable `PYTHON_GIL` in the image's environment.
    pub fn new(promise: GilState, free_threaded: bool, python_gil: Option<&str>) -> Rule {
        Rule { promise, always_on: !free_threaded || python_gil == Some("1") }
    }

    /// How the process breaks the promise; `None` if it keeps it.
    pub fn broken(&self, process: &Process) -> Option<String> {
        let names = quoted(process.undeclared);
        match self.promise {
            GilState::Off | GilState::ForcedOff if process.at_start == Some(true) => {
                Some("it was on at the start".to_owned())
            }
            GilState::Off | GilState::ForcedOff if process.at_end == Some(true) => Some(match names.is_empty() {
                true => "it was on".to_owned(),
                false => format!("it was on, switched on by {names}"),
            }),
            GilState::On if self.always_on && process.at_start == Some(false) => {
                Some("it was off at the start".to_owned())
            }
            GilState::On if self.always_on && process.at_end == Some(false) => Some("it was off".to_owned()),
            GilState::On if process.at_end == Some(false) && !names.is_empty() => {
                Some(format!("it was off, although the undeclared {names} was imported"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
