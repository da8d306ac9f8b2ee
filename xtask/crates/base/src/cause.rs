//! Finds the line of a program's output that says why the program failed.

/// Maximum number of characters shown of a line.
pub const WIDTH: usize = 160;

/// Prefixes of lines that report only that something failed, without a cause.
const EMPTY: [&str; 16] = [
    "$ ",
    "make: ***",
    "make[",
    "ninja: build stopped",
    "compilation terminated",
    "collect2: error",
    "error: aborting due to",
    "error: could not compile",
    "error: command ",
    "error: `cargo ",
    "error: Failed to build",
    "error: subprocess-exited-with-error",
    "error: metadata-generation-failed",
    "ERROR: Failed building wheel",
    "ERROR: Failed to build",
    "Caused by:",
];

/// Substrings by which compilers and installers mark an error message.
const SIGNS: [&str; 6] = ["error:", "error[", "Error:", "ERROR:", "fatal:", "E: "];

/// Returns the line of a program's output that explains best why it failed: the last line that is marked as an error
/// and does not start with one of [`EMPTY`], otherwise the last line that does not.
pub fn find<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = |line: &&&str| !EMPTY.iter().any(|start| line.starts_with(start));
    let marked = |line: &&&str| SIGNS.iter().any(|sign| line.contains(sign));
    let found = lines.iter().rev().filter(telling).find(marked).or_else(|| lines.iter().rev().find(telling))?;
    Some(shortened(found, 2 * WIDTH))
}

/// Truncates a line to `most` characters.
pub fn shortened(line: &str, most: usize) -> String {
    match line.char_indices().nth(most) {
        Some((cut, _)) => format!("{} …", &line[..cut]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_message_is_the_cause() {
        for (output, expected) in [
            ("Reading package lists...\nE: Unable to locate package nopkg\n", "E: Unable to locate package nopkg"),
            (
                "a.c:1:10: fatal error: yaml.h: No such file or directory\ncompilation terminated.\n\
                 error: command '/usr/bin/gcc' failed with exit code 1\n",
                "a.c:1:10: fatal error: yaml.h: No such file or directory",
            ),
            (
                "error[E0425]: cannot find value `x` in this scope\n  |\nerror: aborting due to 1 previous error\n\
                 error: could not compile `foo` (lib) due to 1 previous error\n",
                "error[E0425]: cannot find value `x` in this scope",
            ),
            (
                "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n",
                "ModuleNotFoundError: No module named 'x'",
            ),
            (
                "cc -c a.c\nld: cannot find -lyaml: no such file\nmake: *** [Makefile:3: all] Error 1\n",
                "ld: cannot find -lyaml: no such file",
            ),
            (
                "error: linker `cc` not found\nerror: could not compile `a` (lib) due to 1 previous error\n\
                 error: `cargo rustc --lib` failed with code 101\nerror: Failed to build `/tmp/build/src`\n\
                 cause: The build backend returned an error\n",
                "error: linker `cc` not found",
            ),
            ("before\nno line is marked\n\n", "no line is marked"),
        ] {
            assert_eq!(find(output.lines()).as_deref(), Some(expected));
        }
        assert_eq!(find(["$ true", ""].into_iter()), None);
        assert!(find(["x".repeat(5000).as_str()].into_iter()).is_some_and(|line| line.len() < 400));
    }
}
