//! What GitHub shows of a job before anybody opens its log: the closing table, or why it failed.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;

use anyhow::{Context, Error, Result};

use crate::ui::{self, Ui, shell_quoted};

/// Adds Markdown to the summary of the job; nothing outside of one.
pub fn add(markdown: &str) -> Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return Ok(()) };
    let file = File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{markdown}"))
        .with_context(|| format!("cannot write the job's summary `{}`", path.display()))
}

/// Text as a block of Markdown that it cannot end, whatever it contains.
pub fn block(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end())
}

/// Adds a step's error, with the last lines of its log.
pub fn step(error: &Error, ui: &Ui) {
    if let Err(error) = add(&block(&format!("{error:#}"))) {
        ui.say(&format!("error: {error:#}"));
    }
}

/// Adds the error that a command ended with, and the command that shows it on a person's own machine.
pub fn failure(error: &Error) {
    let command = local(std::env::args_os().skip(1));
    let text = format!("{error:#}");
    if ui::in_github() {
        // A command may have a line break in an argument.
        eprintln!("{}", annotation(&command, text.lines().next().unwrap_or_default()));
        ui::note(&format!("on your machine: {}", command.replace(['\n', '\r'], " ")));
    }
    let told = format!("**Failed**\n\n{}\nOn your machine:\n\n{}", block(&text), block(&command));
    if let Err(error) = add(&told) {
        ui::complain(&error);
    }
}

/// GitHub's workflow command for an error, with its characters encoded as the runner decodes them.
fn annotation(title: &str, message: &str) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::error title={title}::{}", data(message))
}

/// The command without the options that only another machine can give or take. An argument that is not
/// UTF-8 is shown with replacement characters.
fn local(arguments: impl Iterator<Item = OsString>) -> String {
    let mut words = vec!["cargo".to_owned(), "xtask".to_owned()];
    let mut arguments = arguments.map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = arguments.next() {
        match word.split('=').next() {
            Some("--wheels-from" | "--push" | "--stage") => {
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
    use std::ffi::OsString;

    use super::{annotation, block, local};

    #[test]
    fn the_local_command_has_what_a_laptop_has() {
        let said = |line: &str| local(line.split(' ').map(OsString::from));
        assert_eq!(said("image 314t --yes --wheels-from incoming"), "cargo xtask image 314t --yes");
        assert_eq!(said("image 314t --push=a/b --quick"), "cargo xtask image 314t --quick");
        let odd = local(["wheels".into(), "it's here".into()].into_iter());
        assert_eq!(odd, "cargo xtask wheels 'it'\\''s here'");
    }

    #[test]
    fn text_ends_neither_its_block_nor_its_annotation() {
        assert_eq!(block("a\n"), "```text\na\n```\n");
        assert_eq!(block("```\n[a link](x)"), "````text\n```\n[a link](x)\n````\n");
        assert_eq!(annotation("image a:b, c", "100 %\n::x::"), "::error title=image a%3Ab%2C c::100 %25%0A::x::");
    }
}
