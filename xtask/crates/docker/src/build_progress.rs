//! Turns BuildKit's status messages, which describe a graph of steps, into lines of text.

use std::collections::{BTreeSet, HashMap, VecDeque};

use anyhow::Result;
use bollard::moby::buildkit::v1::{StatusResponse, Vertex};

use crate::client::OnLine;
use base::cause;
use base::limits::{self, OutputMeter};
use base::lines::LineBuffer;

/// Number of last lines of each stream of a step that are kept to find the cause of a failure.
const KEPT: usize = 30;

/// Standard output and standard error of a step that is running.
#[derive(Default)]
struct Output {
    /// Unfinished lines.
    lines: [LineBuffer; 2],
    /// Last lines.
    last: [VecDeque<String>; 2],
}

impl Output {
    /// Adds a line to the last lines of a stream.
    fn keep(last: &mut VecDeque<String>, line: &str) {
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }

    /// Passes on the last lines, which may have no line feed.
    fn finish(&mut self, on_line: &dyn Fn(&str)) {
        for (lines, last) in self.lines.iter_mut().zip(&mut self.last) {
            lines.finish(&mut |line| {
                Output::keep(last, line);
                on_line(line);
            });
        }
    }

    /// Finds the line that explains why the step failed. Programs usually write it to standard error.
    fn cause(&self) -> Option<String> {
        let [out, err] = &self.last;
        [err, out].into_iter().find_map(|last| cause::find(last.iter().map(String::as_str)))
    }
}

/// A step that failed.
pub struct Failure {
    step: String,
    /// The engine's message.
    pub error: String,
    /// The line of the step's output that explains the failure.
    cause: Option<String>,
}

impl Failure {
    /// Formats the cause from the program's output, then the step.
    pub fn explain(&self) -> String {
        let step = format!("step `{}` of the image build failed: {}", shorten(&self.step), short_reason(&self.error));
        match &self.cause {
            Some(cause) => format!("{cause}: {step}"),
            None => step,
        }
    }
}

/// Progress of a build. BuildKit identifies a step by its digest; lines show a number instead.
pub struct Progress<'a> {
    on_line: OnLine<'a>,
    meter: OutputMeter,
    numbers: HashMap<String, usize>,
    outputs: HashMap<String, Output>,
    done: BTreeSet<String>,
    /// The step that failed first.
    pub failed: Option<Failure>,
}

impl<'a> Progress<'a> {
    pub fn new(on_line: OnLine<'a>) -> Progress<'a> {
        Progress {
            on_line,
            meter: OutputMeter::new(limits::current().output),
            numbers: HashMap::new(),
            outputs: HashMap::new(),
            done: BTreeSet::new(),
            failed: None,
        }
    }

    /// Prints an answer of BuildKit; fails if the build has printed too much.
    pub fn show(&mut self, status: StatusResponse) -> Result<()> {
        for vertex in &status.vertexes {
            if vertex.started.is_some() && !self.numbers.contains_key(&vertex.digest) {
                let number = self.numbers.len() + 1;
                self.numbers.insert(vertex.digest.clone(), number);
                (self.on_line)(&format!("#{number} {}", shorten(&vertex.name)));
            }
        }
        // Logs before ends: one answer may have both.
        for log in status.logs {
            let (number, on_line) = (self.number(&log.vertex), self.on_line);
            let Output { lines, last } = self.outputs.entry(log.vertex).or_default();
            // Numbered like file descriptors: 1 is standard output, 2 is standard error.
            let stream = usize::from(log.stream == 2);
            lines[stream].push(&log.msg, &mut |line| {
                Output::keep(&mut last[stream], line);
                on_line(&format!("#{number} {line}"));
            });
            self.meter.count(log.msg.len())?;
        }
        for vertex in status.vertexes {
            self.end_step(vertex);
        }
        for warning in status.warnings {
            (self.on_line)(&format!("warning: {}", String::from_utf8_lossy(&warning.short).trim()));
        }
        Ok(())
    }

    fn end_step(&mut self, vertex: Vertex) {
        let Some(completed) = vertex.completed else {
            return;
        };
        if !self.done.insert(vertex.digest.clone()) {
            return;
        }
        let (number, on_line) = (self.number(&vertex.digest), self.on_line);
        let mut output = self.outputs.remove(&vertex.digest).unwrap_or_default();
        output.finish(&|line| on_line(&format!("#{number} {line}")));
        if !vertex.error.is_empty() {
            on_line(&format!("#{number} ERROR: {}", short_reason(&vertex.error)));
            // A step that was cancelled because another one failed is not the cause.
            if self.failed.is_none() && !vertex.error.contains("context canceled") {
                self.failed = Some(Failure { step: vertex.name, error: vertex.error, cause: output.cause() });
            }
        } else if vertex.cached {
            on_line(&format!("#{number} CACHED"));
        } else {
            let started = vertex.started.unwrap_or(completed);
            let seconds =
                (completed.seconds - started.seconds) as f64 + f64::from(completed.nanos - started.nanos) / 1e9;
            on_line(&format!("#{number} DONE {seconds:.1}s"));
        }
    }

    fn number(&self, digest: &str) -> usize {
        self.numbers.get(digest).copied().unwrap_or_default()
    }

    /// Passes on the unfinished lines of all steps.
    pub fn finish(&mut self) {
        for (digest, mut output) in std::mem::take(&mut self.outputs) {
            let (number, on_line) = (self.number(&digest), self.on_line);
            output.finish(&|line| on_line(&format!("#{number} {line}")));
        }
    }
}

/// Returns the start of a step's name. The name of a `RUN` step is its whole script.
fn shorten(name: &str) -> String {
    let mut words = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = words.char_indices().nth(100) {
        words.truncate(cut);
        words.push_str(" …");
    }
    words
}

/// Returns the end of the engine's message, without the script that comes before it.
fn short_reason(error: &str) -> &str {
    // The first form is of engines before version 23.
    match error.rsplit_once("]: ").filter(|(script, _)| script.starts_with("executor failed running [")) {
        Some((_, why)) => why,
        None => error.rsplit_once("did not complete successfully: ").map_or(error, |(_, why)| why),
    }
}

#[cfg(test)]
mod tests {
    use bollard::moby::buildkit::v1::VertexLog;

    use super::*;

    #[test]
    fn the_error_of_a_failed_step_begins_with_the_cause() {
        let log = |stream, text: &str| VertexLog {
            vertex: "d".to_owned(),
            stream,
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        };
        let vertex = Vertex {
            digest: "d".to_owned(),
            name: "[2/2] RUN apt-get install nopkg".to_owned(),
            completed: Some(Default::default()),
            error: "process \"/bin/sh -c apt-get\" did not complete successfully: exit code: 100".to_owned(),
            ..Vertex::default()
        };
        let mut progress = Progress::new(&|_| {});
        // The order of the streams is not fixed, and a message may be a part of a line.
        let logs =
            vec![log(2, "E: Unable to locate"), log(1, "Reading package lists...\n"), log(2, " package nopkg\n")];
        progress.show(StatusResponse { logs, ..StatusResponse::default() }).unwrap();
        progress.show(StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }).unwrap();
        assert_eq!(
            progress.failed.unwrap().explain(),
            "E: Unable to locate package nopkg: step `[2/2] RUN apt-get install nopkg` of the image build failed: \
             exit code: 100"
        );
    }

    #[test]
    fn the_output_of_a_build_has_a_limit() {
        let mut progress = Progress { meter: OutputMeter::new(10), ..Progress::new(&|_| {}) };
        let log = |text: &str| VertexLog { msg: text.as_bytes().to_vec(), ..VertexLog::default() };
        let logs = vec![log("12345"), log("123456")];
        let error = progress.show(StatusResponse { logs, ..StatusResponse::default() }).unwrap_err().to_string();
        assert!(error.contains("printed more than 10 B"), "{error}");
    }
}
