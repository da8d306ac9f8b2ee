//! What GitHub shows of a job before anybody opens its log: the closing table, or why it failed.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Error, Result};

use crate::ui::{Ui, shell_quoted};

/// Adds Markdown to the summary of the job; nothing outside of one.
pub fn add(markdown: &str) -> Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return Ok(()) };
    let file = File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{markdown}"))
        .with_context(|| format!("cannot write the job's summary `{}`", path.display()))
}

/// A step's error, with the last lines of its log.
pub fn step(error: &Error, ui: &Ui) {
    if let Err(error) = add(&format!("```text\n{error:#}\n```\n")) {
        ui.say(&format!("error: {error:#}"));
    }
}

/// What a command ended with, and the command that shows it on a laptop.
pub fn failure(error: &Error) {
    let command = local(std::env::args().skip(1));
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        let text = format!("{error:#}");
        eprintln!("on your machine: {command}");
        // One line, as the syntax of GitHub's annotations has it.
        eprintln!("::error title={command}::{}", text.lines().next().unwrap_or_default());
    }
    let told = format!("**Failed**\n\n```text\n{error:#}\n```\n\nOn your machine:\n\n```sh\n{command}\n```\n");
    if let Err(error) = add(&told) {
        eprintln!("error: {error:#}");
    }
}

/// The command without what only another machine can give or take.
fn local(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["cargo".to_owned(), "xtask".to_owned()];
    let mut arguments = arguments;
    while let Some(word) = arguments.next() {
        match word.split('=').next() {
            Some("--wheels-from" | "--push") => {
                if !word.contains('=') {
                    arguments.next();
                }
            }
            _ => words.push(shell_quoted(&word)),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn the_local_command_has_what_a_laptop_has() {
        let said = |line: &str| local(line.split(' ').map(str::to_owned));
        assert_eq!(said("image 314t --yes --wheels-from incoming"), "cargo xtask image 314t --yes");
        assert_eq!(said("image 314t --push=a/b --quick"), "cargo xtask image 314t --quick");
        let odd = local(["wheels".to_owned(), "it's here".to_owned()].into_iter());
        assert_eq!(odd, "cargo xtask wheels 'it'\\''s here'");
    }
}
