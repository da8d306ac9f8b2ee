//! Builds images with BuildKit.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::models::BuildInfoAux;
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};

use crate::activity::Activity;
use crate::build_progress::Progress;
use crate::client::{Docker, OnLine};
use crate::context::{Content, ContextFile, FileList, stream};
use crate::network::Network;
use crate::reference::{check_reference, split_reference};
use crate::watch::{STUCK, Watch};
use base::cancel::Cancel;

/// Name of the Dockerfile in the context.
const DOCKERFILE: &str = "Dockerfile";

/// An image to be built.
#[derive(Clone, Debug, Default)]
pub struct Build<'a> {
    /// Text of the Dockerfile. It is sent as `Dockerfile` in the root of the context.
    pub dockerfile: &'a str,
    /// The other files of the context.
    pub context: Vec<ContextFile>,
    /// Stage to build; the last one if `None`.
    pub target: Option<&'a str>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    pub tags: Vec<String>,
    /// Network of the `RUN` steps.
    pub network: Network,
    /// Whether to run every step again, without the build cache.
    pub no_cache: bool,
}

impl Docker {
    /// Builds an image and returns its id.
    pub fn build(&self, build: &Build, on_line: OnLine, cancel: &Cancel) -> Result<String> {
        build.tags.iter().try_for_each(|tag| check_reference(tag))?;
        let mut files = build.context.clone();
        ensure!(
            files.iter().all(|file| file.path.trim_matches('/') != DOCKERFILE),
            "the build context contains a file `{DOCKERFILE}`; rename it, because the text of the Dockerfile is sent under this name"
        );
        files.push(ContextFile {
            path: DOCKERFILE.to_owned(),
            source: Content::Bytes(build.dockerfile.as_bytes().to_vec()),
            mode: 0o644,
        });
        let list = FileList::new(&files, true)?;

        let mut options = BuildImageOptionsBuilder::default()
            .dockerfile(DOCKERFILE)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&session_id())
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

        let activity = Activity::new();
        let mut progress = Progress::new(on_line);
        let work = async {
            let body = stream(activity.clone(), |out| list.write(out));
            let body = bollard::body_try_stream(body);
            let mut answers = pin!(self.client.build_image(options.build(), None, Some(body)));
            let mut id = None;
            while let Some(answer) = self.next_message(&mut answers, &activity).await? {
                match answer.aux {
                    Some(BuildInfoAux::BuildKit(status)) => progress.show(status)?,
                    Some(BuildInfoAux::Default(image)) => id = image.id.or(id),
                    None => {}
                }
                // Only the builder before BuildKit sends these.
                for text in [answer.stream, answer.status].into_iter().flatten() {
                    text.lines().filter(|line| !line.is_empty()).for_each(on_line);
                }
                if let Some(message) = answer.error_detail.and_then(|detail| detail.message) {
                    bail!("{message}");
                }
            }
            id.ok_or_else(|| self.connection_closed("the answer ended before the image was complete"))
        };
        let watch = Watch { activity: &activity, cancel, idle_limit: Some(STUCK) };
        let result = self.watched(watch, work, || "cannot build the image".to_owned());
        progress.finish();
        let id = match (result, progress.failed) {
            (Ok(id), _) => id,
            // https://github.com/moby/moby/issues/47717
            (Err(_), Some(failure)) if failure.error.contains("http://build-context-") => bail!(
                "cannot build the image: this Docker engine uses the containerd image store, but is too old to receive a build context with it; update to Docker 28.3 or newer, or set `\"containerd-snapshotter\": false` under `features` in `/etc/docker/daemon.json`"
            ),
            // The error of the answer is the same, without the step.
            (Err(_), Some(failure)) if !cancel.is_set() => bail!("{}", failure.explain()),
            (Err(error), _) => return Err(error),
        };
        for tag in build.tags.iter().skip(1) {
            let (repo, version) = split_reference(tag);
            self.tag(&id, repo, version).context("the image was built, but does not have all of its names")?;
        }
        Ok(id)
    }
}

/// Returns a unique session id. Two builds with the same id would receive each other's requests.
fn session_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{:x}-{stamp:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
