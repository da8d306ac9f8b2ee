//! Builds images with BuildKit and turns its graph of steps into lines of text.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use bollard::models::BuildInfoAux;
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};

use super::context::{Listing, stream};
use super::{Beat, Content, ContextFile, Docker, LineBuffer, Lines, Network, STUCK, check_reference, split_reference};
use base::cancel::Cancel;
use base::cause;
use base::limits::{self, OutputMeter};

/// The name of the Dockerfile inside the context.
const DOCKERFILE: &str = "Dockerfile";

/// An image to be built.
#[derive(Clone, Debug, Default)]
pub struct Build<'a> {
    /// Text of the Dockerfile; it is sent as `Dockerfile` at the root of the context.
    pub dockerfile: &'a str,
    /// Further files of the context.
    pub context: Vec<ContextFile>,
    /// Stage to build, the last one when `None`.
    pub target: Option<&'a str>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    pub tags: Vec<String>,
    /// Network of the `RUN` steps.
    pub network: Network,
    /// Build every step again.
    pub no_cache: bool,
}

impl Docker {
    /// Builds an image and returns its id.
    pub fn build(&self, build: &Build, on: Lines, cancel: &Cancel) -> Result<String> {
        build.tags.iter().try_for_each(|tag| check_reference(tag))?;
        let mut files = build.context.clone();
        ensure!(
            files.iter().all(|file| file.path.trim_matches('/') != DOCKERFILE),
            "the build context contains `{DOCKERFILE}`, the name the text of the Dockerfile is sent under; rename that file"
        );
        files.push(ContextFile {
            path: DOCKERFILE.to_owned(),
            source: Content::Bytes(build.dockerfile.as_bytes().to_vec()),
            mode: 0o644,
        });
        let listing = Listing::new(&files, true)?;

        let mut options = BuildImageOptionsBuilder::default()
            .dockerfile(DOCKERFILE)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&session())
            .networkmode(build.network.mode())
            .nocache(build.no_cache)
            .rm(true)
            .forcerm(true)
            .buildargs(&build.args.clone().into_iter().collect::<HashMap<_, _>>())
            .labels(&build.labels.clone().into_iter().collect::<HashMap<_, _>>());
        if let Some(target) = build.target {
            options = options.target(target);
        }
        if let Some(tag) = build.tags.first() {
            options = options.t(tag);
        }

        let beat = Beat::new();
        let mut progress = Progress::new(on);
        let work = async {
            let body = stream(beat.clone(), |out| listing.write(out));
            let body = bollard::body_try_stream(body);
            let mut answers = pin!(self.client.build_image(options.build(), None, Some(body)));
            let mut id = None;
            while let Some(answer) = self.next(&mut answers, &beat).await? {
                match answer.aux {
                    Some(BuildInfoAux::BuildKit(status)) => progress.show(status)?,
                    Some(BuildInfoAux::Default(image)) => id = image.id.or(id),
                    None => {}
                }
                // Only the builder before BuildKit answers with these.
                for text in [answer.stream, answer.status].into_iter().flatten() {
                    text.lines().filter(|line| !line.is_empty()).for_each(on);
                }
                if let Some(message) = answer.error_detail.and_then(|detail| detail.message) {
                    bail!("{message}");
                }
            }
            id.ok_or_else(|| self.broken("it ended the answer before the image was complete"))
        };
        let result = self.watched(&beat, cancel, Some(STUCK), work, || "cannot build the image".to_owned());
        progress.finish();
        let id = match (result, progress.failed) {
            (Ok(id), _) => id,
            // What the answer itself says of it is the same, without the step.
            // https://github.com/moby/moby/issues/47717
            (Err(_), Some(failure)) if failure.error.contains("http://build-context-") => bail!(
                "cannot build the image: this Docker engine has the containerd image store, but is too old to take a build context with it; update to Docker 28.3 or newer, or set `\"containerd-snapshotter\": false` under `features` in `/etc/docker/daemon.json`"
            ),
            (Err(_), Some(failure)) if !cancel.is_set() => bail!("{}", failure.explain()),
            (Err(error), _) => return Err(error),
        };
        for tag in build.tags.iter().skip(1) {
            let (repo, version) = split_reference(tag);
            self.tag(&id, repo, version).context("the image was built, but has not all of its names")?;
        }
        Ok(id)
    }
}

/// Two builds of one session id would answer each other's questions.
fn session() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{:x}-{stamp:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Last lines of each stream of a step that are kept to find the cause of a failure.
const KEPT: usize = 30;

/// The output of a step that runs: standard output and standard error.
#[derive(Default)]
struct Output {
    lines: [LineBuffer; 2],
    last: [VecDeque<String>; 2],
}

impl Output {
    /// Notes a line of one of the streams.
    fn note(last: &mut VecDeque<String>, line: &str) {
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }

    /// Passes on a last line that no line feed ended.
    fn finish(&mut self, on: &dyn Fn(&str)) {
        for (lines, last) in self.lines.iter_mut().zip(&mut self.last) {
            lines.finish(&mut |line| {
                Output::note(last, line);
                on(line);
            });
        }
    }

    /// The line that says why the step failed. Programs write it to standard error.
    fn cause(&self) -> Option<String> {
        let [out, err] = &self.last;
        [err, out].into_iter().find_map(|last| cause::find(last.iter().map(String::as_str)))
    }
}

/// A step that failed.
struct Failure {
    step: String,
    error: String,
    cause: Option<String>,
}

impl Failure {
    /// The program's own cause, then the step.
    fn explain(&self) -> String {
        let step = format!("step `{}` of the image's build failed: {}", short(&self.step), reason(&self.error));
        match &self.cause {
            Some(cause) => format!("{cause}: {step}"),
            None => step,
        }
    }
}

/// What is known of each step, by its digest.
struct Progress<'a> {
    on: Lines<'a>,
    meter: OutputMeter,
    numbers: HashMap<String, usize>,
    outputs: HashMap<String, Output>,
    done: BTreeSet<String>,
    failed: Option<Failure>,
}

impl<'a> Progress<'a> {
    fn new(on: Lines<'a>) -> Progress<'a> {
        Progress {
            on,
            meter: OutputMeter::new(limits::current().output),
            numbers: HashMap::new(),
            outputs: HashMap::new(),
            done: BTreeSet::new(),
            failed: None,
        }
    }

    fn show(&mut self, status: StatusResponse) -> Result<()> {
        for vertex in &status.vertexes {
            if vertex.started.is_some() && !self.numbers.contains_key(&vertex.digest) {
                let number = self.numbers.len() + 1;
                self.numbers.insert(vertex.digest.clone(), number);
                (self.on)(&format!("#{number} {}", short(&vertex.name)));
            }
        }
        // Logs come before ends, for both may be in one answer.
        for log in status.logs {
            let (number, on) = (self.number(&log.vertex), self.on);
            let Output { lines, last } = self.outputs.entry(log.vertex).or_default();
            // As file descriptors: 1 is standard output, 2 standard error.
            let stream = usize::from(log.stream == 2);
            lines[stream].push(&log.msg, &mut |line| {
                Output::note(&mut last[stream], line);
                on(&format!("#{number} {line}"));
            });
            self.meter.count(log.msg.len())?;
        }
        for vertex in status.vertexes {
            self.end(vertex);
        }
        for warning in status.warnings {
            (self.on)(&format!("warning: {}", String::from_utf8_lossy(&warning.short).trim()));
        }
        Ok(())
    }

    fn end(&mut self, vertex: Vertex) {
        let Some(completed) = vertex.completed else {
            return;
        };
        if !self.done.insert(vertex.digest.clone()) {
            return;
        }
        let (number, on) = (self.number(&vertex.digest), self.on);
        let mut output = self.outputs.remove(&vertex.digest).unwrap_or_default();
        output.finish(&|line| on(&format!("#{number} {line}")));
        if !vertex.error.is_empty() {
            on(&format!("#{number} ERROR: {}", reason(&vertex.error)));
            // A step that was given up because another one failed is not the cause.
            if self.failed.is_none() && !vertex.error.contains("context canceled") {
                self.failed = Some(Failure { step: vertex.name, error: vertex.error, cause: output.cause() });
            }
        } else if vertex.cached {
            on(&format!("#{number} CACHED"));
        } else {
            let started = vertex.started.unwrap_or(completed);
            let seconds =
                (completed.seconds - started.seconds) as f64 + f64::from(completed.nanos - started.nanos) / 1e9;
            on(&format!("#{number} DONE {seconds:.1}s"));
        }
    }

    fn number(&self, digest: &str) -> usize {
        self.numbers.get(digest).copied().unwrap_or_default()
    }

    fn finish(&mut self) {
        for (digest, mut output) in std::mem::take(&mut self.outputs) {
            let (number, on) = (self.number(&digest), self.on);
            output.finish(&|line| on(&format!("#{number} {line}")));
        }
    }
}

/// The start of a step's name: a `RUN` is named by its whole script, which is in the Dockerfile.
fn short(name: &str) -> String {
    let mut words = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = words.char_indices().nth(100) {
        words.truncate(cut);
        words.push_str(" …");
    }
    words
}

/// What went wrong, without the script that the engine repeats before it.
fn reason(error: &str) -> &str {
    // As engines before and after 23 word it.
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
    fn a_failed_step_is_told_by_the_cause_first() {
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
        // The streams come in no fixed order, and in parts of lines.
        let logs =
            vec![log(2, "E: Unable to locate"), log(1, "Reading package lists...\n"), log(2, " package nopkg\n")];
        progress.show(StatusResponse { logs, ..StatusResponse::default() }).unwrap();
        progress.show(StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }).unwrap();
        assert_eq!(
            progress.failed.unwrap().explain(),
            "E: Unable to locate package nopkg: step `[2/2] RUN apt-get install nopkg` of the image's build failed: \
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
