//! Error messages of steps and programs: the cause, the last lines of output, the log file, and the command.

use anyhow::Error;

use crate::cause::{WIDTH, shortened};
use crate::proc::CommandFailed;
use crate::ui::Task;

/// Formats the error of a task: the cause, then the last lines of its output, the path of its log, and the command to
/// repeat.
pub fn explain(error: &Error, task: &Task) -> String {
    let mut text = format!("{error:#}");
    // The command itself is printed last.
    for line in task.tail().iter().filter(|line| !line.starts_with("$ ")) {
        text.push_str(&format!("\n    | {}", shortened(line, WIDTH)));
    }
    text.push_str(&format!("\n    whole log: {}", task.log().display()));
    if let Some(failed) = error.chain().find_map(|cause| cause.downcast_ref::<CommandFailed>()) {
        text.push_str(&format!("\n    command: {}", failed.command));
    }
    text
}
