//! Resource limits of programs and containers, which prevent a build from exhausting the machine.

use std::sync::OnceLock;

use anyhow::{Result, anyhow, bail};

use crate::size::parse_size;
use crate::ui::bytes;
use crate::{UsageError, ui};

/// Maximum length of a line of output, in bytes; the log omits the rest of a longer line.
pub const LINE: usize = 16 << 10;
/// Maximum size of standard output that this tool parses itself, such as a JSON document, in bytes.
pub const MAX_CAPTURED: usize = 64 << 20;
/// Maximum number of files and folders copied out of a container.
pub const FILES: usize = 10_000;
/// Default memory limit of one container, in percent of the engine's memory.
pub const MEMORY_PERCENT: u64 = 80;
/// Maximum number of processes and threads of a container that runs a check, not a build.
pub const PROBE_PROCESSES: u64 = 1024;

pub const OUTPUT_VARIABLE: &str = "XTASK_MAX_OUTPUT";
pub const FILES_VARIABLE: &str = "XTASK_MAX_FILES";
pub const MEMORY_VARIABLE: &str = "XTASK_MAX_MEMORY";
pub const PROCESSES_VARIABLE: &str = "XTASK_MAX_PROCESSES";

/// Limits that the user can raise with environment variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum output of one program or container, in bytes.
    pub output: u64,
    /// Maximum total size of the files copied out of one container, in bytes.
    pub files: u64,
    /// Memory limit of one container, in bytes; if `None`, [`MEMORY_PERCENT`] of the engine's memory.
    pub memory: Option<u64>,
    /// Maximum number of processes and threads of a build container.
    pub processes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { output: 256 << 20, files: 4 << 30, memory: None, processes: 4096 }
    }
}

impl Limits {
    /// Returns the defaults, overridden by the environment variables that are set.
    fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Limits> {
        let size = |name: &str| -> Result<Option<u64>> {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
            match parse_size(&text) {
                Ok(0) => {
                    bail!(UsageError(format!("{name} is 0: write the limit as `10G`, `500M` or a number of bytes")))
                }
                Ok(size) => Ok(Some(size)),
                Err(error) => Err(anyhow!(UsageError(format!("{name}: {error}")))),
            }
        };
        let processes = match variable(PROCESSES_VARIABLE).filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => match text.parse().ok().filter(|number| *number > 0) {
                Some(number) => Some(number),
                None => bail!(UsageError(format!("{PROCESSES_VARIABLE}: `{text}` is not a number of processes"))),
            },
        };
        let usual = Limits::default();
        Ok(Limits {
            output: size(OUTPUT_VARIABLE)?.unwrap_or(usual.output),
            files: size(FILES_VARIABLE)?.unwrap_or(usual.files),
            memory: size(MEMORY_VARIABLE)?,
            processes: processes.unwrap_or(usual.processes),
        })
    }
}

static LIMITS: OnceLock<Limits> = OnceLock::new();

/// Reads the limits from the environment. Called once, when the process starts.
pub fn read_environment() -> Result<()> {
    let limits = Limits::parse(|name| std::env::var(name).ok())?;
    LIMITS.get_or_init(|| limits);
    Ok(())
}

/// Returns the limits of this process.
pub fn current() -> Limits {
    LIMITS.get().copied().unwrap_or_default()
}

/// Counter of the bytes that a program prints.
#[derive(Debug)]
pub struct OutputMeter {
    printed: u64,
    limit: u64,
}

impl OutputMeter {
    pub fn new(limit: u64) -> OutputMeter {
        OutputMeter { printed: 0, limit }
    }

    /// Adds to the counter. Fails once the limit is exceeded.
    pub fn count(&mut self, printed: usize) -> Result<()> {
        self.printed += printed as u64;
        if self.printed > self.limit {
            bail!(
                "it was stopped because it printed more than {}: if this is not an endless loop, set {OUTPUT_VARIABLE} to \
                 a higher limit",
                bytes(self.limit)
            );
        }
        Ok(())
    }
}

/// Captured standard output of a program, at most [`MAX_CAPTURED`] bytes.
#[derive(Debug, Default)]
pub struct CapturedOutput(Vec<u8>);

impl CapturedOutput {
    pub fn push(&mut self, part: &[u8]) -> Result<()> {
        if self.0.len() + part.len() > MAX_CAPTURED {
            bail!("its standard output is larger than the limit of {}", ui::bytes(MAX_CAPTURED as u64));
        }
        self.0.extend_from_slice(part);
        Ok(())
    }

    pub fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<Limits> {
        Limits::parse(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn a_variable_raises_one_limit_and_no_other() {
        let usual = Limits::default();
        assert_eq!(Limits::parse(|_| None).unwrap(), usual);
        assert_eq!(parse(OUTPUT_VARIABLE, "1G").unwrap(), Limits { output: 1 << 30, ..usual });
        assert_eq!(parse(FILES_VARIABLE, "2T").unwrap(), Limits { files: 2 << 40, ..usual });
        assert_eq!(parse(MEMORY_VARIABLE, "500M").unwrap(), Limits { memory: Some(500 << 20), ..usual });
        assert_eq!(parse(PROCESSES_VARIABLE, "9").unwrap(), Limits { processes: 9, ..usual });
        for (name, value) in
            [(OUTPUT_VARIABLE, "much"), (FILES_VARIABLE, "0"), (MEMORY_VARIABLE, "-1"), (PROCESSES_VARIABLE, "0")]
        {
            let error = parse(name, value).unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn output_above_the_limit_is_an_error() {
        let mut meter = OutputMeter::new(10);
        meter.count(10).unwrap();
        let error = meter.count(1).unwrap_err().to_string();
        assert!(error.contains("more than 10 B") && error.contains(OUTPUT_VARIABLE), "{error}");
    }

    #[test]
    fn captured_output_has_a_limit() {
        let (mut answer, part) = (CapturedOutput::default(), vec![b'x'; MAX_CAPTURED]);
        answer.push(&part).unwrap();
        assert!(answer.push(b"y").unwrap_err().to_string().contains("64.00 MiB"));
        assert_eq!(answer.into_text().len(), MAX_CAPTURED);
    }
}
