//! Checks before a build that Debian has all packages of the apt sets.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::exchange::Exchange;
use crate::host;
use crate::plan::{Action, Plan, Status};
use crate::step::{RunContext, text};
use crate::{cache, run};
use base::{UsageError, ui};
use docker::{Content, ContextFile, Docker, Job, Network};
use matrix::Matrix;

/// Prints `candidate NAME` for each existing package and `installable NAME` for other names that apt can install,
/// such as virtual packages. If a name is neither, prints `known NAME` for all packages.
const QUERY: &str = r#"set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
if [ -s /query/ca.crt ]; then echo 'Acquire::https::CAInfo "/query/ca.crt";' > /etc/apt/apt.conf.d/99query; fi
apt-get -o Acquire::Retries=3 -o Acquire::http::Timeout=30 update -o APT::Update::Error-Mode=any >&2
candidates=$(apt-cache policy "$@" 2>/dev/null | awk '
  /^[^ ].*:$/ { name = substr($0, 1, length($0) - 1) }
  $1 == "Candidate:" && $2 != "(none)" { print name }')
missing=
for name; do
  if printf '%s\n' "$candidates" | grep -qxF -e "$name"; then echo "candidate $name"
  elif apt-get --simulate --no-install-recommends install "$name" > /dev/null 2>&1; then echo "installable $name"
  else missing=yes
  fi
done
if [ -n "$missing" ]; then apt-cache pkgnames | sed 's/^/known /'; fi
"#;

/// Maximum number of similar names in an error.
const OFFERED: usize = 3;

/// Checks in Debian's archive that all packages exist that the plan will install. Names that were found once are not
/// checked again. If the archive is not reachable, prints a note; the steps that install packages will then report
/// the error.
pub fn check(matrix: &Matrix, plan: &Plan, context: &RunContext, exchange: &Exchange) -> Result<()> {
    let Some(docker) = context.docker else { return Ok(()) };
    let folder = context.cache.state("debian")?;
    let found_before = folder.join(format!("{}.names", &*matrix.root.suite));
    let mut found: BTreeSet<String> =
        fs::read_to_string(&found_before).unwrap_or_default().lines().map(str::to_owned).collect();
    let packages = |action: &Action| if let Action::Apt(apt) = action { apt.packages.clone() } else { Vec::new() };
    if plan.steps.iter().flat_map(|step| packages(&step.action)).all(|name| found.contains(&name)) {
        return Ok(());
    }
    let (_, status) = run::forecast(plan, context, exchange);
    let built = |id: &str| matches!(status.get(id), Some(Status::Build | Status::Later));
    let names = plan.steps.iter().filter(|step| built(&step.id)).flat_map(|step| packages(&step.action));
    let names: BTreeSet<String> = names.filter(|name| !found.contains(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let root = Plan { steps: plan.steps.iter().filter(|step| step.id == "root").cloned().collect(), whole: true };
    let outcomes = run::execute(&root, context, exchange)?;
    let image = outcomes.get("root").and_then(|outcome| outcome.record.output.image.as_ref());
    let image = image.context("the step `root` created no image: this is a bug")?;
    let answer = match query_archive(docker, &image.reference, &names, context) {
        Ok(answer) => answer,
        Err(error) => {
            context.cancel.check()?;
            context.ui.say(&format!("[apt] the names of Debian packages could not be checked: {error:#}"));
            return Ok(());
        }
    };
    found.extend(check_answer(matrix, &names, &answer)?);
    let text: String = found.iter().map(|name| format!("{name}\n")).collect();
    cache::write(&found_before, text.as_bytes())
}

/// Runs the query in a container of the root image.
fn query_archive(docker: &Docker, image: &str, names: &BTreeSet<String>, context: &RunContext) -> Result<String> {
    let task = context.ui.start("apt", "check the names of Debian packages", &context.cache.log("apt-names"));
    task.open_log()?;
    let mut command: Vec<String> = ["sh", "-c", QUERY, "sh"].map(str::to_owned).to_vec();
    command.extend(names.iter().cloned());
    let bundle = match host::ca_bundle() {
        Some(path) => ContextFile { path: "/query/ca.crt".to_owned(), source: Content::File(path), mode: 0o644 },
        None => text("/query/ca.crt", "", 0o644),
    };
    let job = Job {
        image,
        command,
        env: host::proxies()?,
        network: Network::Default,
        inputs: vec![bundle],
        // apt downloads files as a user of its own.
        capabilities: &["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"],
        timeout: Some(Duration::from_secs(180)),
        ..Job::default()
    };
    let ended = docker.run(&job, &|_| {}, context.cancel).and_then(|ended| {
        ended.stderr.lines().for_each(|line| task.line(line));
        let last = ended.stderr.trim().lines().last().unwrap_or("no output").to_owned();
        ensure!(ended.exit == 0, "`apt-get update` failed: {last}");
        Ok(ended.stdout)
    });
    task.end(if ended.is_ok() { "ok" } else { "skipped" });
    ended
}

/// Returns the names that the archive has. Fails if one is missing.
fn check_answer(matrix: &Matrix, names: &BTreeSet<String>, answer: &str) -> Result<BTreeSet<String>> {
    let after =
        |prefix: &'static str| answer.lines().filter_map(move |line| line.strip_prefix(prefix)).map(str::to_owned);
    let found: BTreeSet<String> = after("candidate ").chain(after("installable ")).collect();
    let known: Vec<String> = after("known ").collect();
    let missing: Vec<String> = names.difference(&found).map(|name| describe(matrix, name, &known)).collect();
    match missing.is_empty() {
        true => Ok(names.clone()),
        false => Err(anyhow!(UsageError(missing.join("\n")))),
    }
}

/// Describes a missing package: the apt sets that list it, and similar names.
fn describe(matrix: &Matrix, name: &str, known: &[String]) -> String {
    let sets = matrix.apt.iter().filter(|set| set.packages.iter().any(|package| **package == *name));
    let sets = ui::quoted(sets.map(|set| &set.id));
    let plain = name.split('=').next().unwrap_or(name);
    let mut similar: Vec<(f64, &String)> = known
        .iter()
        .map(|other| (strsim::jaro_winkler(plain, other), other))
        .filter(|(score, _)| *score > 0.85)
        .collect();
    similar.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let similar = ui::quoted(similar.iter().take(OFFERED).map(|(_, name)| name));
    let advice = match similar.as_str() {
        "" => "correct the name".to_owned(),
        names => format!("similar names are {names}"),
    };
    let suite = &matrix.root.suite;
    format!(
        "matrix.yaml: apt[].packages: Debian {suite} has no package `{name}`, which the apt set {sets} lists; {advice}"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::check_answer;
    use base::UsageError;
    use matrix::Matrix;

    fn matrix() -> Matrix {
        let text = fixture::MATRIX.replacen("libyaml-dev, zlib1g-dev]", "libyaml-devel, zlib1g-dev]", 1);
        Matrix::parse(&text, "matrix.yaml").unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_error_names_the_missing_package_its_set_and_similar_names() {
        let answer = "candidate zlib1g-dev\nknown libyaml-dev\nknown zlib1g-dev\nknown libyaml-0-2\nknown apt\n";
        let error = check_answer(&matrix(), &names(&["libyaml-devel", "zlib1g-dev"]), answer).unwrap_err();
        assert!(error.is::<UsageError>(), "the configuration is wrong");
        assert_eq!(
            error.to_string(),
            "matrix.yaml: apt[].packages: Debian bookworm has no package `libyaml-devel`, which the apt set \
             `acme-build` lists; similar names are `libyaml-dev`, `libyaml-0-2`"
        );
    }

    #[test]
    fn all_names_that_apt_can_install_are_accepted() {
        let names = names(&["zlib1g-dev", "awk", "libssl3=3.0.11-1"]);
        let answer = "candidate zlib1g-dev\ninstallable awk\ninstallable libssl3=3.0.11-1\n";
        assert_eq!(check_answer(&matrix(), &names, answer).unwrap(), names);
    }
}
