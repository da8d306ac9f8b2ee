//! Job summaries and error annotations of GitHub Actions.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;

use anyhow::{Context, Error, Result};

use crate::program;
use crate::ui::{self, Ui, shell_quoted};

/// Appends Markdown to the job summary. Does nothing outside GitHub Actions.
pub fn add(markdown: &str) -> Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return Ok(()) };
    let file = File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{markdown}"))
        .with_context(|| format!("cannot write the job's summary `{}`", path.display()))
}

/// Formats text as a Markdown code block; the fence is longer than any in the text.
pub fn block(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end())
}

/// Adds the error of a step, with the last lines of its log.
pub fn add_step_failure(error: &Error, ui: &Ui) {
    if let Err(error) = add(&block(&format!("{error:#}"))) {
        ui.say(&format!("error: {error:#}"));
    }
}

/// Adds the error of a command, and the command with which to reproduce it locally.
pub fn add_failure(error: &Error) {
    let command = local(program::command(), std::env::args_os().skip(1));
    let text = program::with_command(&format!("{error:#}")).into_owned();
    if ui::in_github() {
        // An argument of the command may contain a line break.
        eprintln!("{}", annotation(&command, text.lines().next().unwrap_or_default()));
        ui::print_note(&format!("on your machine: {}", command.replace(['\n', '\r'], " ")));
    }
    let text_markdown = format!("**Failed**\n\n{}\nOn your machine:\n\n{}", block(&text), block(&command));
    if let Err(error) = add(&text_markdown) {
        ui::print_error(&error);
    }
}

/// Returns GitHub's workflow command for an error, with the characters escaped that the runner decodes.
fn annotation(title: &str, message: &str) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::error title={title}::{}", data(message))
}

/// Returns the command line without the options that exist only on CI. Arguments that are not UTF-8 are shown with
/// replacement characters.
fn local(program: &str, arguments: impl Iterator<Item = OsString>) -> String {
    let mut words = vec![program.to_owned()];
    let mut arguments = arguments.map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = arguments.next() {
        match word.split('=').next() {
            Some("--wheels-from" | "--push" | "--stage") => {
                if !word.contains('=') {
                    arguments.next();
                }
            }
            _ => words.push(shell_quoted(&word).into_owned()),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{annotation, block, local};

    #[test]
    fn the_local_command_omits_ci_options() {
        let command = |line: &str| local("cargo xtask", line.split(' ').map(OsString::from));
        assert_eq!(command("image 314t --yes --wheels-from incoming"), "cargo xtask image 314t --yes");
        assert_eq!(command("image 314t --push=a/b --quick"), "cargo xtask image 314t --quick");
        let odd = local("cargo xtask", ["wheels".into(), "it's here".into()].into_iter());
        assert_eq!(odd, "cargo xtask wheels \"it's here\"");
    }

    #[test]
    fn text_is_escaped_in_blocks_and_annotations() {
        assert_eq!(block("a\n"), "```text\na\n```\n");
        assert_eq!(block("```\n[a link](x)"), "````text\n```\n[a link](x)\n````\n");
        assert_eq!(annotation("image a:b, c", "100 %\n::x::"), "::error title=image a%3Ab%2C c::100 %25%0A::x::");
    }
}
