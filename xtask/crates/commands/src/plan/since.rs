//! `--changed-since`: determines the steps that a change does not affect, by comparing keys.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::JobRows;
use base::UsageError;
use base::git::{self, git};
use build::Project;
use build::embedded;
use build::facts::Facts;
use build::plan::{self, JobOptions, Jobs, Plan, Status, Step};
use build::planner;
use build::step::quick;
use matrix::Matrix;
use matrix::select::Selection;

/// A plan, and what is known of its steps.
pub struct Planned<'a> {
    pub plan: &'a Plan,
    pub keys: &'a BTreeMap<String, Option<String>>,
    pub facts: &'a Facts,
    pub status: &'a dyn Fn(&Step) -> Status,
}

/// Returns the jobs of the plan's rows without those that are available or unaffected by the change.
pub fn jobs(project: &Project, asked: &JobRows, planned: Planned) -> Result<Jobs> {
    let Planned { plan, keys, facts, status } = planned;
    if asked.event.as_deref() == Some("release") {
        quick::refuse(plan, "a release")?;
    }
    let untouched = match asked.changed_since.as_deref().filter(|revision| !revision.is_empty()) {
        Some(revision) => untouched(project, revision, plan, facts)?,
        None => BTreeSet::new(),
    };
    // These events include everything.
    let whole = matches!(asked.event.as_deref(), Some("schedule" | "release"));
    let there = |step: &Step| matches!(status(step), Status::Cached | Status::Pull);
    let left_out = |step: &Step| !whole && (there(step) || untouched.contains(&step.id));
    let instrumented = project.matrix.images.iter().filter(|image| whole && image.is_instrumented());
    let common = JobOptions {
        runner: &project.matrix.ci.runner,
        quick: facts.quick,
        instrumented: instrumented.map(|image| image.tag.to_string()).collect(),
    };
    Ok(plan::jobs(plan, keys, &common, &left_out))
}

/// Files that compute keys, in a clone of this tool. If they changed, earlier keys cannot be computed, and everything
/// counts as changed.
const PLANNER: [&str; 4] = [
    "xtask/crates/build/src/planner.rs",
    "xtask/crates/build/src/plan.rs",
    "xtask/crates/build/src/plan/action.rs",
    "xtask/crates/base/src/digest.rs",
];

/// Where other projects name the version of this tool that computes the keys.
const TOOL: [&str; 1] = [".github/workflows"];

/// Recorded revision of each step's code, which is part of its key.
const REVISIONS: &str = "xtask/crates/build/src/step/revisions.txt";

/// Returns the ids of the steps that have the same keys as at `revision`.
fn untouched(project: &Project, revision: &str, plan: &Plan, facts: &Facts) -> Result<BTreeSet<String>> {
    let all = |why: &str| {
        project.ui.say(&format!("everything counts as changed since `{revision}`: {why}"));
        Ok(BTreeSet::new())
    };
    // GitHub passes zeros for a new branch, and for an event without a previous commit.
    if revision.chars().all(|c| c == '0') {
        return all("there is no such revision");
    }
    let Some(commit) = commit(project, revision)? else {
        return all("it is not among the commits that were fetched");
    };
    let mut compare = git(&project.folder);
    compare.args(["diff", "--quiet", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty", &commit, "--"]);
    let files: &[&str] = if embedded::are_those_of(&project.folder)? { &PLANNER } else { &TOOL };
    if !compare.args(files).status().context("cannot start `git`")?.success() {
        return all("the code that computes the keys has changed");
    }
    if revisions_before(project, &commit)? != revisions(&read_if_present(&project.folder.join(REVISIONS))?) {
        return all("the revision of a step's code has changed");
    }
    let scratch = project.cache.scratch("since")?;
    let folder = scratch.path();
    match before(project, &commit, folder, facts) {
        Ok(earlier) => Ok(same(&earlier, plan)),
        Err(error) => all(&format!("cannot plan that commit: {error:#}")),
    }
}

/// Returns the revisions of the steps' code at `commit`.
fn revisions_before(project: &Project, commit: &str) -> Result<BTreeMap<String, String>> {
    let output = git(&project.folder).args(["show", &format!("{commit}:{REVISIONS}")]).output();
    let output = output.context("cannot start `git`")?;
    // If the file does not exist in the commit, there is nothing to compare.
    let text = if output.status.success() { output.stdout } else { Vec::new() };
    Ok(revisions(&String::from_utf8_lossy(&text)))
}

/// Reads a file; returns an empty text if it does not exist.
fn read_if_present(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Parses lines of the form `STEP REVISION DIGEST`.
fn revisions(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(step, rest)| (step.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned())).collect()
}

/// Returns the full hash of a commit; `None` if it does not exist locally, for instance after a forced push.
fn commit(project: &Project, revision: &str) -> Result<Option<String>> {
    let name = format!("{revision}^{{commit}}");
    let output = git(&project.folder).args(["rev-parse", "--quiet", "--verify", "--end-of-options", &name]).output();
    let output = output.context("cannot start `git`")?;
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    let whole = revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit());
    match whole {
        true => Ok(None),
        false => Err(anyhow!(UsageError(format!(
            "`{revision}` is no commit of this clone: `git fetch` it, or name another"
        )))),
    }
}

/// Returns the plan of the commit's matrix and files.
fn before(project: &Project, commit: &str, folder: &Path, now: &Facts) -> Result<Plan> {
    let archive = folder.join("tree.tar");
    // `git worktree` would leave an entry in the clone's list of worktrees.
    let arguments = ["archive", "--format=tar", "--output"].map(OsStr::new);
    git::output(&project.folder, &[&arguments[..], &[archive.as_os_str(), OsStr::new(commit)]].concat())?;
    let tree = folder.join("tree");
    tar::Archive::new(std::fs::File::open(&archive)?).unpack(&tree).context("cannot unpack the commit")?;
    let file = project.file.file_name().map(PathBuf::from).unwrap_or_default();
    let matrix = Matrix::load(&tree.join(&file), &file.display().to_string())?;
    let mut facts = Facts::read(&matrix, &tree, &project.cache, now.quick, now.fake)?;
    // In a clone of this tool, the commit has its own version of what runs in containers.
    if embedded::are_those_of(&project.folder)? {
        facts.files = embedded::files_or_those_in(&tree.join("docker"))?;
    }
    let toolchain = |folder: &Path| std::fs::read(folder.join("rust-toolchain.toml")).ok();
    if toolchain(&tree) != toolchain(&project.folder) {
        facts.rustc = format!("not {}", now.rustc);
    }
    Ok(planner::plan(&matrix, &Selection::all(&matrix), &facts))
}

/// Compares the keys under the assumption that Debian's archive has not changed.
fn same(before: &Plan, after: &Plan) -> BTreeSet<String> {
    let keys = |plan: &Plan| plan.keys(|_, key| Some(key.to_owned()));
    let before = keys(before);
    keys(after).into_iter().filter(|(id, key)| before.get(id) == Some(key)).map(|(id, _)| id).collect()
}
