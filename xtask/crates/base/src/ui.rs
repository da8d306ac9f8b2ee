//! Progress output on standard error. Results go to standard output through [`print_result`].

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::program;
use crate::text::lines;
pub use crate::text::{columns, labelled, wrap};
use anyhow::{Context, Result};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

/// Number of last lines shown of a failed step.
const TAIL: usize = 25;

/// Maximum number of bytes printed of a log in a GitHub Actions job.
const PRINTED: u64 = 4 << 20;

/// Destination of progress messages.
#[derive(Debug, Clone)]
pub struct Ui {
    bars: Option<MultiProgress>,
    /// In a GitHub Actions job, whole logs are printed in collapsible groups.
    github: bool,
    /// What [`Ui::say_once`] has printed.
    once: Arc<Mutex<BTreeSet<String>>>,
}

/// Displayed progress and log file of a running step.
#[derive(Debug)]
pub struct Task {
    ui: Ui,
    id: String,
    what: String,
    started: Instant,
    bar: Option<ProgressBar>,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    tail: VecDeque<String>,
}

impl State {
    fn record(&mut self, line: &str) {
        // Ignore errors: a full disk must not hide the output of the step itself.
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{line}");
        }
    }
}

impl Ui {
    /// Uses progress bars on a terminal, and plain lines elsewhere.
    pub fn detect() -> Ui {
        let github = in_github();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !github && !dumb;
        Ui { bars: terminal.then(MultiProgress::new), github, once: Arc::default() }
    }

    /// Prints a line permanently. The text may contain output of other programs, see [`escape_workflow_commands`].
    pub fn say(&self, text: &str) {
        self.print(&escape_workflow_commands(text, self.github));
    }

    /// Prints a line unless this text was printed before.
    pub fn say_once(&self, text: &str) {
        if self.once.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
            self.say(text);
        }
    }

    fn print(&self, line: &str) {
        let line = program::with_command(line);
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(lines(&line));
            }
            None => {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }

    /// Displays a step as running. The log file is not touched before [`Task::open_log`].
    pub fn start(&self, id: &str, what: &str, log: &Path) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            // The line is as wide as the terminal. Moving the cursor back by four columns (ECMA-48: CUB) keeps the
            // `^C` that a terminal prints in this line, so that it is cleared with the line.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>4} {wide_msg}\u{1b}[4D") {
                bar.set_style(style);
            }
            bar.set_prefix(id.to_owned());
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            self.say(&format!("[{id}] {what} ..."));
        }
        Task {
            ui: self.clone(),
            id: id.to_owned(),
            what: what.to_owned(),
            started: Instant::now(),
            bar,
            log: log.to_owned(),
            state: Mutex::new(State { file: None, tail: VecDeque::new() }),
        }
    }
}

impl Task {
    /// Creates or truncates the log file.
    pub fn open_log(&self) -> Result<()> {
        let file = File::create(&self.log);
        let file = file.with_context(|| format!("cannot write the log file `{}`", self.log.display()))?;
        self.state().file = Some(file);
        Ok(())
    }

    /// Records one line of a child's output: in the log, next to the spinner, and in the last lines.
    pub fn line(&self, line: &str) {
        let line = plain(line);
        if line.is_empty() {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(line.clone());
        }
        let mut state = self.state();
        state.record(&line);
        if state.tail.len() == TAIL {
            state.tail.pop_front();
        }
        state.tail.push_back(line);
    }

    /// Writes one line to the log only.
    pub fn record(&self, line: &str) {
        self.state().record(&plain(line));
    }

    /// Shows the progress of a download in bytes next to the spinner.
    pub fn bytes(&self, name: &str, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            let total = total.map(|total| format!(" of {}", HumanBytes(total))).unwrap_or_default();
            bar.set_message(format!("{name}: {}{total}", HumanBytes(done)));
        }
    }

    /// Shows what the step is waiting for, also without a spinner.
    pub fn waiting(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => self.ui.say(&format!("[{}] {what}", self.id)),
        }
    }

    pub fn tail(&self) -> Vec<String> {
        self.state().tail.iter().cloned().collect()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Replaces the progress line by the outcome: `ok`, `cached` or `FAILED`.
    pub fn end(self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let line = format!("[{}] {} ... {outcome}", self.id, self.what);
        match outcome {
            "cached" => self.ui.say_once(&line),
            _ => self.ui.say(&format!("{line} {}", seconds(self.seconds()))),
        }
        if self.ui.github
            && outcome != "cached"
            && let Ok(log) = end_of(&self.log, PRINTED)
            && !log.is_empty()
        {
            let log = escape_workflow_commands(log.trim_end(), self.ui.github);
            self.ui.print(&format!("::group::{} log\n{log}\n::endgroup::", self.id));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Task {
    /// Clears the progress line of a task that ends with an error.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Returns the last `most` bytes of a file, with a first line that states how much is omitted.
fn end_of(path: &Path, most: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let omitted = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(omitted))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    Ok(match omitted {
        0 => end.into_owned(),
        omitted => format!("[the first {} of this log are omitted]\n{end}", HumanBytes(omitted)),
    })
}

/// Returns whether this process runs in a GitHub Actions job, whose runner interprets its output.
pub fn in_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some()
}

/// Prints an error to standard error. The error may contain output of other programs.
pub fn print_error(error: &anyhow::Error) {
    print_note(&format!("error: {error:#}"));
}

/// Prints text to standard error, for callers without a [`Ui`].
pub fn print_note(text: &str) {
    let text = program::with_command(text);
    let text = if std::io::stderr().is_terminal() { Cow::Owned(lines(&text)) } else { text };
    eprintln!("{}", escape_workflow_commands(&text, in_github()));
}

/// Escapes text so that the GitHub Actions runner finds no workflow command in it: the runner interprets `::name::`
/// at the start of a line, and `##[name]` anywhere. Outside GitHub Actions the text is unchanged.
fn escape_workflow_commands(text: &str, github: bool) -> Cow<'_, str> {
    if !github {
        return Cow::Borrowed(text);
    }
    // The runner also treats a carriage return as the end of a line.
    let lines = text.split(['\n', '\r']).map(|line| {
        let start = line.len() - line.trim_start().len();
        let (blank, rest) = line.split_at(start);
        let rest = rest.replace("##[", "# #[");
        if rest.starts_with("::") { format!("{blank}: {}", &rest[1..]) } else { format!("{blank}{rest}") }
    });
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

/// Writes a result to standard output. A closed pipe, for instance of `head`, is not an error.
pub fn print_result(text: &str) -> Result<()> {
    let text = program::with_command(text);
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Formats names for a message: `` `a`, `b` ``.
pub fn quoted(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Quotes a word for a POSIX shell if necessary. Arguments of a program never contain NUL, which cannot be quoted.
pub fn shell_quoted(word: &str) -> Cow<'_, str> {
    shlex::try_quote(word).unwrap_or(Cow::Borrowed(word))
}

/// Formats a duration: `12.3s`, `4m 30s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    format!("{}m {:02}s", whole / 60, whole % 60)
}

/// Formats a size in binary units.
pub fn bytes(size: u64) -> String {
    HumanBytes(size).to_string()
}

/// Removes escape sequences and control characters; keeps only the text after the last carriage return.
fn plain(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let text = strip_ansi_escapes::strip_str(line.replace('\t', " "));
    // Among them are those from U+0080 to U+009F, which terminals obey as well.
    text.replace(char::is_control, "")
}

#[cfg(test)]
mod tests {
    use super::{end_of, escape_workflow_commands, plain};

    #[test]
    fn control_sequences_are_removed() {
        assert_eq!(plain("\u{1b}[1;31merror\u{1b}[0m: x\ty\r\n"), "error: x y");
        assert_eq!(plain("10%\r20%\u{1b}[K"), "20%");
        assert_eq!(plain("\u{1b}]0;title\u{7}a\u{1b}]8;;http://h\u{1b}\\link\u{1b}]8;;\u{1b}\\"), "alink");
        assert_eq!(plain("\u{1b}(Bx\u{7}"), "x");
        assert_eq!(plain("\u{1b}[31"), "");
        assert_eq!(plain("\u{1b}P0;1|17/ab\u{1b}\\a\u{8}\u{9b}b\u{85}c ü"), "abc ü");
    }

    #[test]
    fn only_the_end_of_a_long_log_is_printed() {
        let path = std::env::temp_dir().join(format!("xtask-ui-{}.log", std::process::id()));
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(end_of(&path, 8).unwrap(), "one\ntwo\n");
        assert_eq!(end_of(&path, 4).unwrap(), "[the first 4 B of this log are omitted]\ntwo\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn workflow_commands_are_escaped() {
        for (line, expected) in [
            ("::stop-commands::x", ": :stop-commands::x"),
            ("ok\n \t::add-mask::a", "ok\n \t: :add-mask::a"),
            ("half\r::error::x", "half\n: :error::x"),
            ("text ##[set-output name=a]b", "text # #[set-output name=a]b"),
            (":::group::a", ": ::group::a"),
            ("std::env::var, ::", "std::env::var, ::"),
        ] {
            assert_eq!(escape_workflow_commands(line, true), expected);
            assert_eq!(escape_workflow_commands(line, false), line);
        }
    }
}
