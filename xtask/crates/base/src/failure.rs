//! Error messages of steps and programs: the cause first, then the last lines, the log and the command.

use anyhow::Error;

use crate::cause::{WIDTH, shortened};
use crate::proc::Failed;
use crate::ui::Task;

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
