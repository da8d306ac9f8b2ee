//! Detects missing inputs from the output of a build in a container.

use base::ui::quoted;

/// Prefix of lines in which build-wheel.sh prints requirements of the package's pyproject.toml.
const REQUIRES: &str = "build-system.requires: ";

/// Parser of a build's output.
#[derive(Debug, Default)]
pub struct Messages {
    /// The first missing header or library, as `apt-file` knows it.
    pub file: Option<String>,
    module: Option<String>,
    requires: Vec<String>,
    in_advice: bool,
    make_failed: bool,
}

impl Messages {
    /// Processes a line. Returns whether to display it: uv's advice for its own projects does not apply here.
    pub fn read(&mut self, line: &str) -> bool {
        if let Some(requirement) = line.strip_prefix(REQUIRES) {
            self.requires.push(requirement.to_owned());
        }
        self.file = self.file.take().or_else(|| missing_file(line));
        self.module = self.module.take().or_else(|| missing_module(line));
        self.make_failed |= line.starts_with("make") && line.contains("***");
        if line.starts_with("hint: This error likely indicates that `") {
            self.in_advice = true;
        }
        let shown = !self.in_advice && !line.starts_with("hint: Build failures usually indicate");
        if line.starts_with("or `uv pip install") {
            self.in_advice = false;
        }
        shown
    }

    /// Returns whether the output names a missing file or module, which is more helpful than its last error.
    pub fn name_cause(&self) -> bool {
        self.file.is_some() || self.module.is_some()
    }

    /// Returns a remedy for a missing Python module or a failed parallel make, which ran `jobs` commands at a time.
    /// Empty if the output names no cause.
    pub fn hint(&self, package: &str, jobs: usize) -> String {
        let Some(module) = &self.module else {
            return match self.make_failed && jobs > 1 {
                true => format!(
                    ": make ran {jobs} commands at a time; if its makefiles do not allow that, set \
                     `build: {{jobs: 1}}` for `{package}` in matrix.yaml"
                ),
                false => String::new(),
            };
        };
        let requires = match self.requires.is_empty() {
            true => String::new(),
            false => format!("; its pyproject.toml requires {}", quoted(&self.requires)),
        };
        format!(
            ": the build needs the Python module `{module}`, which is missing: add the package that contains it to \
             `build.requires` of `{package}` in matrix.yaml{requires}"
        )
    }
}

/// Extracts `numpy` from `ModuleNotFoundError: No module named 'numpy.core'`.
fn missing_module(line: &str) -> Option<String> {
    let name = line.strip_prefix("ModuleNotFoundError: No module named '")?.split('\'').next()?;
    name.split('.').next().map(str::to_owned)
}

/// Extracts the missing header or library from the message of a compiler or linker.
fn missing_file(line: &str) -> Option<String> {
    let header = line.split_once("fatal error: ").and_then(|(_, rest)| rest.split_once(": No such file"));
    if let Some((header, _)) = header {
        return Some(format!("/{}", header.trim()));
    }
    let library = line.split_once("cannot find -l").map(|(_, rest)| rest)?;
    let name: String = library.chars().take_while(|c| c.is_ascii_alphanumeric() || "._+-".contains(*c)).collect();
    Some(format!("/lib{name}.so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_header_or_library_is_recognised() {
        let gcc = "src/main/config.c:10:10: fatal error: yaml.h: No such file or directory";
        assert_eq!(missing_file(gcc).as_deref(), Some("/yaml.h"));
        let ld = "/usr/bin/ld: cannot find -lyaml: No such file or directory";
        assert_eq!(missing_file(ld).as_deref(), Some("/libyaml.so"));
        let openssl = "a.h:3:10: fatal error: openssl/ssl.h: No such file or directory";
        assert_eq!(missing_file(openssl).as_deref(), Some("/openssl/ssl.h"));
        assert_eq!(missing_file("error: yaml.h is odd"), None);
    }

    #[test]
    fn a_missing_build_requirement_is_found_without_uvs_advice() {
        let mut messages = Messages::default();
        // Output of uv 0.13.9.
        let output = "build-system.requires: setuptools\n\
            build-system.requires: numpy>=2\n\
            ModuleNotFoundError: No module named 'numpy'\n\
            error: Failed to build `/tmp/build/src`\n\
            hint: This error likely indicates that `a@1.0` depends on `numpy`, but doesn't declare it\n\
            \n\
            [tool.uv.extra-build-dependencies]\n\
            a = [\"numpy\"]\n\
            or `uv pip install numpy` into the environment and re-run with `--no-build-isolation`.\n\
            last line";
        let shown: Vec<&str> = output.lines().filter(|line| messages.read(line)).collect();
        assert_eq!(
            shown[2..].join("\n"),
            "ModuleNotFoundError: No module named 'numpy'\nerror: Failed to build `/tmp/build/src`\nlast line"
        );
        let hint = messages.hint("a", 2);
        assert!(
            hint.contains(
                "`build.requires` of `a` in matrix.yaml; its pyproject.toml requires `setuptools`, `numpy>=2`"
            ),
            "{hint}"
        );
        assert_eq!(Messages::default().hint("a", 2), "");
    }

    #[test]
    fn a_failed_make_suggests_a_sequential_build() {
        let mut messages = Messages::default();
        messages.read("make[1]: *** No rule to make target 'generated.h', needed by 'a.o'.  Stop.");
        assert!(messages.hint("a", 2).contains("`build: {jobs: 1}` for `a`"));
        assert_eq!(messages.hint("a", 1), "");
    }
}
