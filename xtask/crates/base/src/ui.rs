//! Progress for people on stderr; results go to stdout and never through here.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

/// How many last lines of a failed step are shown.
const TAIL: usize = 25;

/// Bytes of a log that are printed in a job of GitHub Actions.
const PRINTED: u64 = 4 << 20;

/// Where progress goes.
#[derive(Debug, Clone)]
pub struct Ui {
    bars: Option<MultiProgress>,
    /// Inside a GitHub Actions job whole logs are printed, folded.
    github: bool,
}

/// A running step as the person sees it, and its log file.
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
        // A full disk must not hide what the step itself has to say.
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{line}");
        }
    }
}

impl Ui {
    /// Chooses progress bars on a terminal, and plain lines elsewhere.
    pub fn detect() -> Ui {
        let github = in_github();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !github && !dumb;
        Ui { bars: terminal.then(MultiProgress::new), github }
    }

    /// Prints text that stays. It may contain output of other programs: see [`inert`].
    pub fn say(&self, text: &str) {
        self.print(&inert(text, self.github));
    }

    fn print(&self, line: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }

    /// Shows a step as running. Its log file stays as it is until the step really begins.
    pub fn start(&self, id: &str, what: &str, log: &Path) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            // The line is as wide as the terminal. The cursor goes back by four columns (ECMA-48: CUB), so
            // that the `^C` that a terminal prints stays in this line and is cleared with it.
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
    /// Begins the log file anew.
    pub fn open_log(&self) -> Result<()> {
        let file = File::create(&self.log);
        let file = file.with_context(|| format!("cannot write the log file `{}`", self.log.display()))?;
        self.state().file = Some(file);
        Ok(())
    }

    /// One line of a child's output: into the log, beside the spinner, and among the last lines.
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

    /// One line that is only for the log.
    pub fn record(&self, line: &str) {
        self.state().record(&plain(line));
    }

    /// How far a download is, in bytes; beside the spinner only.
    pub fn bytes(&self, name: &str, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            let total = total.map(|total| format!(" of {}", HumanBytes(total))).unwrap_or_default();
            bar.set_message(format!("{name}: {}{total}", HumanBytes(done)));
        }
    }

    /// What the step waits for; said where there is no spinner as well.
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

    /// Replaces the running line by the outcome: `ok`, `cached`, `FAILED`.
    pub fn end(self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.ui.say(&format!("[{}] {} ... {outcome} {}", self.id, self.what, seconds(self.seconds())));
        if self.ui.github
            && outcome != "cached"
            && let Ok(log) = end_of(&self.log, PRINTED)
            && !log.is_empty()
        {
            let log = inert(log.trim_end(), self.ui.github);
            self.ui.print(&format!("::group::{} log\n{log}\n::endgroup::", self.id));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Task {
    /// A task that an error left without an outcome must not leave its line on the terminal.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The end of a file, of `most` bytes at most; a line says so if something is left out.
fn end_of(path: &Path, most: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let left_out = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(left_out))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    Ok(match left_out {
        0 => end.into_owned(),
        left_out => format!("[the first {} of this log are left out]\n{end}", HumanBytes(left_out)),
    })
}

/// Whether this process runs in a job of GitHub Actions, whose runner reads what it prints.
pub fn in_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some()
}

/// Prints an error, which may contain output of other programs, to standard error.
pub fn complain(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// Prints text to standard error, where no [`Ui`] is at hand.
pub fn note(text: &str) {
    eprintln!("{}", inert(text, in_github()));
}

/// Changes text so that a runner of GitHub Actions takes no line of it for a workflow command: the runner
/// reads `::name::` at the beginning of a line, and `##[name]` anywhere in it. Elsewhere the text stays.
fn inert(text: &str, github: bool) -> Cow<'_, str> {
    if !github {
        return Cow::Borrowed(text);
    }
    // For the runner a carriage return ends a line, too.
    let lines = text.split(['\n', '\r']).map(|line| {
        let start = line.len() - line.trim_start().len();
        let (blank, rest) = line.split_at(start);
        let rest = rest.replace("##[", "# #[");
        if rest.starts_with("::") { format!("{blank}: {}", &rest[1..]) } else { format!("{blank}{rest}") }
    });
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

/// Writes a result to standard output; a reader that has seen enough, as `head` has, is no error.
pub fn out(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Names in a message: `` `a`, `b` ``.
pub fn quoted(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A word as a shell takes it.
pub fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// `12.3s`, `4m 30s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    format!("{}m {:02}s", whole / 60, whole % 60)
}

/// A size for people, in binary units.
pub fn bytes(size: u64) -> String {
    HumanBytes(size).to_string()
}

/// Text without colours, titles and cursor movements; of a line that was drawn over itself, the last state.
fn plain(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // ECMA-48: `ESC [` begins a sequence that a letter, `@` or `~` ends; `ESC ]`, a title or
            // link, is ended by BEL or `ESC \`; any other takes one more character.
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\t' => out.push(' '),
            c if !c.is_control() => out.push(c),
            _ => {}
        }
    }
    out
}

/// Rows in columns as wide as they need, one blank apart; those that `right` names are read from the right.
pub fn columns<const N: usize>(rows: &[[String; N]], right: impl Fn(usize) -> bool) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cell = |column: usize| match right(column) {
            true => format!("{:>1$}", row[column], widths[column]),
            false => format!("{:<1$}", row[column], widths[column]),
        };
        let line = std::array::from_fn::<String, N, _>(cell).join(" ");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{end_of, inert, plain};

    #[test]
    fn what_a_terminal_would_not_show_is_left_out() {
        assert_eq!(plain("\u{1b}[1;31merror\u{1b}[0m: x\ty\r\n"), "error: x y");
        assert_eq!(plain("10%\r20%\u{1b}[K"), "20%");
        assert_eq!(plain("\u{1b}]0;title\u{7}a\u{1b}]8;;http://h\u{1b}\\link\u{1b}]8;;\u{1b}\\"), "alink");
        assert_eq!(plain("\u{1b}(Bx\u{7}"), "Bx");
        assert_eq!(plain("\u{1b}[31"), "");
    }

    #[test]
    fn of_a_long_log_only_the_end_is_printed() {
        let path = std::env::temp_dir().join(format!("xtask-ui-{}.log", std::process::id()));
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(end_of(&path, 8).unwrap(), "one\ntwo\n");
        assert_eq!(end_of(&path, 4).unwrap(), "[the first 4 B of this log are left out]\ntwo\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_line_of_a_build_is_a_workflow_command() {
        for (line, expected) in [
            ("::stop-commands::x", ": :stop-commands::x"),
            ("ok\n \t::add-mask::a", "ok\n \t: :add-mask::a"),
            ("half\r::error::x", "half\n: :error::x"),
            ("text ##[set-output name=a]b", "text # #[set-output name=a]b"),
            (":::group::a", ": ::group::a"),
            ("std::env::var, ::", "std::env::var, ::"),
        ] {
            assert_eq!(inert(line, true), expected);
            assert_eq!(inert(line, false), line);
        }
    }
}
