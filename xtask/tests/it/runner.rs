//! Simulates GitHub's runners: executes the `run:` steps of a workflow, each job in a clean clone with its own cache.
//! Of the actions, only those for artefacts and caches are simulated.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::common::{Clone, files, text, write_program};
use crate::expressions::{evaluate, expand, shown, truthy};
use crate::jobs::git;

/// Replacements of programs: `cargo xtask` with fake steps, and programs that only record their arguments.
const SHIMS: [(&str, &str); 3] = [
    (
        "cargo",
        r#"case $1 in
xtask) shift ;;
install)
    for root; do :; done
    mkdir -p "$root/bin"
    printf '#!/bin/sh\necho "wheel-matrix $*" >> "$CALLS"\ncase "$1 $2" in "verify 3"*) exit 0 ;; esac\nexec "$XTASK" "$@" --fake\n' \
        > "$root/bin/wheel-matrix"
    chmod 755 "$root/bin/wheel-matrix"
    exit ;;
esac
echo "cargo xtask $*" >> "$CALLS"
# No image was made that could be looked at, and no source was fetched.
case "$1 $2" in "verify 3"* | "test 3"* | "audit "*) exit 0 ;; esac
# Cargo sets this variable for the program that it runs.
CARGO_PKG_NAME=xtask exec "$XTASK" "$@" --fake
"#,
    ),
    (
        "docker",
        r#"echo "docker $*" >> "$CALLS"
for name; do :; done
case "$1 $2" in
"image inspect") echo "${name%:*}@sha256:0123" ;;
# A step of the row, what Debian's archive gave it, and for a test something else.
"image ls") for tag in root-0123456789abcdef root-0123456789abcdef.note $STRANGE; do echo "$name:$tag"; done ;;
save*) echo "an archive" ;;
esac
"#,
    ),
    ("gh", "echo \"gh $*\" >> \"$CALLS\"\ncase \"$2\" in view) test -n \"$RELEASED\" ;; esac\n"),
];

/// GitHub repository with the results of its runs.
pub struct Hub {
    pub clone: Clone,
    /// Called with the folder of each uploaded artefact.
    pub meddle: Option<fn(&str, &Path)>,
    pub env: BTreeMap<String, String>,
}

/// Result of a workflow run.
pub struct Run {
    /// Result of each job by its name in the file; the worst one for a job matrix.
    pub results: BTreeMap<String, String>,
    /// Output of all steps, and all summaries.
    pub said: String,
    pub summary: String,
    /// Calls of the replaced programs.
    pub calls: String,
}

impl Hub {
    /// The project with its workflows, and one commit.
    pub fn new() -> Hub {
        let clone = Clone::new();
        let source = Path::new("..");
        for file in files(&source.join(".github")) {
            let to = clone.project().join(file.strip_prefix(source).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, to).unwrap();
        }
        // Their choices are those of the project's matrix, which may be another than that of the tests.
        clone.good(&["workflow"]);
        fs::write(clone.project().join(".gitignore"), "/wheels\n").unwrap();
        fs::create_dir_all(clone.top.join("bin")).unwrap();
        for (name, script) in SHIMS {
            write_program(&clone.top.join("bin").join(name), &format!("#!/bin/sh\n{script}"));
        }
        git(&clone.project(), &["init", "--quiet"]);
        let hub = Hub { clone, meddle: None, env: BTreeMap::new() };
        hub.commit();
        hub
    }

    /// Commits all there is, and says under which name.
    pub fn commit(&self) -> String {
        let folder = self.clone.project();
        git(&folder, &["add", "--all"]);
        git(&folder, &["commit", "--quiet", "--allow-empty", "--message", "change"]);
        git(&folder, &["rev-parse", "HEAD"])
    }

    /// Runs a workflow's jobs one after another, each after those that it needs.
    pub fn run(&self, workflow: &str, event_name: &str, event: Value) -> Run {
        let path = self.clone.project().join(".github/workflows").join(workflow);
        let document: Value = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let github = json!({
            "event_name": event_name, "event": event, "sha": git(&self.clone.project(), &["rev-parse", "HEAD"]),
            "repository": "Someone/Project", "ref_name": "v1", "token": "a-token", "actor": "someone",
            "workflow_ref": "Someone/Project/.github/workflows/build.yml@refs/heads/main",
        });
        let mut run =
            Run { results: BTreeMap::new(), said: String::new(), summary: String::new(), calls: String::new() };
        let mut done: Map<String, Value> = Map::new();
        let _ = fs::remove_dir_all(self.clone.top.join("run"));
        let jobs = document["jobs"].as_object().unwrap();
        while done.len() < jobs.len() {
            let ready = |(name, job): &(&String, &Value)| {
                !done.contains_key(*name) && needed(job).iter().all(|need| done.contains_key(need))
            };
            let (name, job) = jobs.iter().find(ready).expect("jobs that need each other");
            let needs: Map<String, Value> =
                needed(job).into_iter().map(|need| (need.clone(), done[&need].clone())).collect();
            let mut contexts = json!({"github": github, "needs": needs, "inputs": {}, "steps": {}});
            contexts["env"] = expand_all(&document["env"], &contexts);
            let (result, outputs) = self.job(name, job, &mut contexts, &mut run);
            run.results.insert(name.clone(), result.clone());
            done.insert(name.clone(), json!({"result": result, "outputs": outputs}));
        }
        run
    }

    fn job(&self, name: &str, job: &Value, contexts: &mut Value, run: &mut Run) -> (String, Value) {
        let succeeded = contexts["needs"].as_object().unwrap().values().all(|need| need["result"] == "success");
        let wanted = match job["if"].as_str() {
            None => succeeded,
            Some(condition) => {
                let condition = condition.trim().trim_start_matches("${{").trim_end_matches("}}");
                // Without one of these words GitHub puts `success() &&` before it.
                let own = condition.contains("cancelled()") || condition.contains("always()");
                (own || succeeded) && truthy(&evaluate(condition, contexts))
            }
        };
        if !wanted {
            return ("skipped".to_owned(), json!({}));
        }
        let rows = match job["strategy"]["matrix"].as_str() {
            Some(matrix) => expand(matrix, contexts)["include"].as_array().unwrap().clone(),
            None => vec![json!({})],
        };
        assert!(!rows.is_empty(), "GitHub refuses the empty matrix of `{name}`");
        let (mut result, mut outputs) = ("success", json!({}));
        for (number, row) in rows.into_iter().enumerate() {
            contexts["matrix"] = row;
            contexts["steps"] = json!({});
            let top = self.clone.top.join(format!("run/{name}-{number}"));
            fs::create_dir_all(top.join("work")).unwrap();
            let mut env = strings(&contexts["env"]);
            env.insert("GITHUB_EVENT_NAME".to_owned(), shown(&contexts["github"]["event_name"]));
            let mut machine = Machine { hub: self, top, env, run, saves: Vec::new() };
            match machine.steps(&job["steps"], contexts) {
                true => machine.saves.iter().for_each(|(from, to)| copy(from, to)),
                false => result = "failure",
            }
            outputs = expand_all(&job["outputs"], contexts);
        }
        (result.to_owned(), outputs)
    }
}

/// The names of the jobs that a job waits for.
fn needed(job: &Value) -> Vec<String> {
    match &job["needs"] {
        Value::Array(needs) => needs.iter().map(shown).collect(),
        Value::Null => Vec::new(),
        one => vec![shown(one)],
    }
}

/// One runner while it has one job.
struct Machine<'a> {
    hub: &'a Hub,
    top: PathBuf,
    env: BTreeMap<String, String>,
    run: &'a mut Run,
    /// What is kept under a key when the job has succeeded: from where, and to where.
    saves: Vec<(PathBuf, PathBuf)>,
}

impl Machine<'_> {
    /// Whether all steps went well.
    fn steps(&mut self, steps: &Value, contexts: &mut Value) -> bool {
        for step in steps.as_array().unwrap() {
            if step["if"].as_str().is_some_and(|condition| !truthy(&evaluate(condition, contexts))) {
                continue;
            }
            let good = match step["uses"].as_str() {
                Some(action) => self.action(action, &expand_all(&step["with"], contexts), contexts),
                None => {
                    let env = strings(&expand_all(&step["env"], contexts));
                    let (good, outputs) = self.script(step, env);
                    if let Some(id) = step["id"].as_str() {
                        contexts["steps"][id] = json!({ "outputs": outputs });
                    }
                    good
                }
            };
            if !good {
                return false;
            }
        }
        true
    }

    fn script(&mut self, step: &Value, env: BTreeMap<String, String>) -> (bool, BTreeMap<String, String>) {
        let script = self.top.join("script.sh");
        fs::write(&script, step["run"].as_str().unwrap()).unwrap();
        let file = |name: &str| {
            let path = self.top.join(name);
            fs::write(&path, "").unwrap();
            path
        };
        let (outputs, summary, exported) = (file("output"), file("summary"), file("env"));
        let pipefail: &[&str] =
            if step["shell"] == "bash" { &["--noprofile", "--norc", "-eo", "pipefail"] } else { &["-e"] };
        let clean = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"];
        let path = format!("{}:{}", self.hub.clone.top.join("bin").display(), std::env::var("PATH").unwrap());
        let calls = self.top.join("calls");
        let output = Command::new("bash")
            .args(pipefail)
            .arg(&script)
            .current_dir(self.top.join("work"))
            .env_clear()
            .envs(clean.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("PATH", path)
            .env("XTASK", env!("CARGO_BIN_EXE_wheel-matrix"))
            .env("XTASK_CACHE_DIR", self.top.join("cache"))
            .env("CALLS", &calls)
            .envs([("CI", "true"), ("GITHUB_ACTIONS", "true"), ("GITHUB_REF_NAME", "v1")])
            .env("GITHUB_REPOSITORY", "Someone/Project")
            .envs([("GITHUB_OUTPUT", &outputs), ("GITHUB_STEP_SUMMARY", &summary), ("GITHUB_ENV", &exported)])
            .envs(&self.hub.env)
            .envs(&self.env)
            .envs(env)
            .output()
            .unwrap();
        self.run.said += &format!("{}{}", text(&output.stdout), text(&output.stderr));
        self.run.summary += &fs::read_to_string(&summary).unwrap();
        self.run.calls += &fs::read_to_string(&calls).unwrap_or_default();
        let _ = fs::remove_file(&calls);
        self.env.extend(pairs(&exported));
        (output.status.success(), pairs(&outputs))
    }

    fn action(&mut self, action: &str, with: &Value, contexts: &Value) -> bool {
        let (work, store) = (self.top.join("work"), self.hub.clone.top.join("run/artefacts"));
        if let Some(local) = action.strip_prefix("./") {
            let document = fs::read_to_string(work.join(local).join("action.yml")).unwrap();
            let document: Value = serde_yaml::from_str(&document).unwrap();
            self.env.insert("GITHUB_ACTION_PATH".to_owned(), work.join(local).display().to_string());
            let mut inner = contexts.clone();
            inner["inputs"] = json!({});
            for (name, input) in document["inputs"].as_object().unwrap() {
                inner["inputs"][name] =
                    if with[name].is_null() { input["default"].clone() } else { with[name].clone() };
            }
            return self.steps(&document["runs"]["steps"], &mut inner);
        }
        match action.split('@').next().unwrap() {
            "actions/checkout" => {
                assert_eq!(with["persist-credentials"], json!(false));
                let from = self.hub.clone.project();
                let to = match with["path"].as_str() {
                    Some(path) => work.join(path),
                    None => {
                        fs::remove_dir_all(&work).unwrap();
                        work.clone()
                    }
                };
                if let Some(repository) = with["repository"].as_str() {
                    let reference = with["ref"].as_str().unwrap();
                    self.run.calls += &format!("checkout {repository} {reference}\n");
                }
                let [from, to] = [from, to].map(|folder| folder.display().to_string());
                git(&self.top, &["clone", "--quiet", &from, &to]);
            }
            "actions/upload-artifact" => {
                let to = store.join(with["name"].as_str().unwrap());
                upload(&work, with["path"].as_str().unwrap(), &to);
                if let Some(meddle) = self.hub.meddle {
                    meddle(with["name"].as_str().unwrap(), &to);
                }
            }
            "actions/download-artifact" => {
                let to = work.join(with["path"].as_str().unwrap_or("."));
                match with["name"].as_str() {
                    Some(name) => copy(&store.join(name), &to),
                    None => {
                        for entry in fs::read_dir(&store).into_iter().flatten().flatten() {
                            let name = entry.file_name().into_string().unwrap();
                            if with["pattern"].as_str().is_none_or(|pattern| fits(pattern, &name)) {
                                copy(&entry.path(), &to.join(&name));
                            }
                        }
                    }
                }
            }
            "actions/cache" => {
                let (path, key) = (work.join(with["path"].as_str().unwrap()), with["key"].as_str().unwrap());
                let kept = self.hub.clone.top.join("kept").join(key);
                self.run.calls += &format!("cache {key}\n");
                match kept.exists() {
                    true => copy(&kept, &path),
                    false => self.saves.push((path, kept)),
                }
            }
            // What only GitHub, a registry or the index can do.
            name => self.run.calls += &format!("uses {name}\n"),
        }
        true
    }
}

/// `wheel-*`, `{wheel,manifest}-*`.
fn fits(pattern: &str, name: &str) -> bool {
    let before = pattern.strip_suffix("-*").unwrap();
    let choices = before.trim_start_matches('{').trim_end_matches('}').split(',');
    choices.into_iter().any(|choice| name.starts_with(&format!("{choice}-")))
}

/// From the folder that all paths share.
fn upload(work: &Path, paths: &str, to: &Path) {
    let paths: Vec<&str> = paths.lines().map(str::trim).filter(|path| !path.is_empty()).collect();
    let parent = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    let shared = parent(paths[0]);
    let from = if paths.iter().all(|path| parent(path) == shared) { work.join(&shared) } else { work.to_owned() };
    let mut count = 0;
    for path in paths {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        for file in files(&work.join(folder)) {
            let wanted = match name.strip_prefix('*') {
                Some(suffix) => file.display().to_string().ends_with(suffix),
                None => name.is_empty() || file == work.join(path),
            };
            if wanted {
                let target = to.join(file.strip_prefix(&from).unwrap());
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(&file, target).unwrap();
                count += 1;
            }
        }
    }
    assert!(count > 0, "there is nothing to upload for {}", to.display());
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

fn expand_all(values: &Value, contexts: &Value) -> Value {
    let object = values.as_object().cloned().unwrap_or_default();
    let expanded = |value: &Value| value.as_str().map_or(value.clone(), |text| expand(text, contexts));
    object.iter().map(|(name, value)| (name.clone(), expanded(value))).collect::<Map<_, _>>().into()
}

fn strings(values: &Value) -> BTreeMap<String, String> {
    values.as_object().unwrap().iter().map(|(name, value)| (name.clone(), shown(value))).collect()
}

/// `name=value` and `name<<END`, as GitHub reads the files that steps write.
fn pairs(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let (mut found, mut lines) = (BTreeMap::new(), text.lines());
    while let Some(line) = lines.next() {
        let (name, value) = match (line.split_once("<<"), line.split_once('=')) {
            (_, Some((name, value))) if !name.contains("<<") => (name, value.to_owned()),
            (Some((name, end)), _) => {
                (name, lines.by_ref().take_while(|line| *line != end).collect::<Vec<_>>().join("\n"))
            }
            _ => panic!("`{line}` is neither `name=value` nor `name<<END`"),
        };
        found.insert(name.to_owned(), value);
    }
    found
}
