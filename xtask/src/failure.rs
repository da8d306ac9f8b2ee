//! Error messages of steps and programs: the cause first, then the last lines, the log and the command.

use anyhow::Error;

use crate::proc::Failed;
use crate::ui::Task;

/// Characters of a line that are shown.
const WIDTH: usize = 160;

/// An error of a task with all that helps to mend it: below the cause the last lines of the output,
/// the name of the log, and the command to repeat.
pub fn explain(error: &Error, task: &Task) -> String {
    let mut text = format!("{error:#}");
    // The command comes at the end.
    for line in task.tail().iter().filter(|line| !line.starts_with("$ ")) {
        text.push_str(&format!("\n    | {}", shortened(line, WIDTH)));
    }
    text.push_str(&format!("\n    whole log: {}", task.log().display()));
    if let Some(failed) = error.chain().find_map(|cause| cause.downcast_ref::<Failed>()) {
        text.push_str(&format!("\n    command: {}", failed.command));
    }
    text
}

/// Starts of lines that say only that something failed, which is known.
const EMPTY: [&str; 14] = [
    "$ ",
    "make: ***",
    "make[",
    "ninja: build stopped",
    "compilation terminated",
    "collect2: error",
    "error: aborting due to",
    "error: could not compile",
    "error: command ",
    "error: subprocess-exited-with-error",
    "error: metadata-generation-failed",
    "ERROR: Failed building wheel",
    "ERROR: Failed to build",
    "Caused by:",
];

/// What the lines of compilers and installers contain that name the cause of a failure.
const SIGNS: [&str; 6] = ["error:", "error[", "Error:", "ERROR:", "fatal:", "E: "];

/// The line among the last ones of a program that says best why it failed: the last that is marked as
/// an error and says more than that there was one, else the last line.
pub fn cause<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = |line: &&&str| !EMPTY.iter().any(|start| line.starts_with(start));
    let marked = |line: &&&str| SIGNS.iter().any(|sign| line.contains(sign));
    let found = lines.iter().rev().filter(telling).find(marked).or_else(|| lines.iter().rev().find(telling))?;
    Some(shortened(found, 2 * WIDTH))
}

fn shortened(line: &str, most: usize) -> String {
    match line.char_indices().nth(most) {
        Some((cut, _)) => format!("{} …", &line[..cut]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_line_that_names_it() {
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
            ("before\nno error is named\n\n", "no error is named"),
        ] {
            assert_eq!(cause(output.lines()).as_deref(), Some(expected));
        }
        assert_eq!(cause(["$ true", ""].into_iter()), None);
        assert!(cause(["x".repeat(5000).as_str()].into_iter()).is_some_and(|line| line.len() < 400));
    }
}
