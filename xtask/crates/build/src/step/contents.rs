//! Searches Debian's archive for the packages that have a file.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::env::{RunContext, text};
use super::wanted::Wanted;
use crate::host;
use base::ui::quoted;
use docker::{Content, ContextFile, Job, Network};

/// Prints `path section/package,…` for each file of Debian's archive that matches the pattern, `default NAME PACKAGE`
/// for packages that Debian's defaults depend on, and `installed PACKAGE` for those that the image has.
const SEARCH: &str = r#"set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
if [ -s /query/ca.crt ]; then echo 'Acquire::https::CAInfo "/query/ca.crt";' > /etc/apt/apt.conf.d/99query; fi
cat > /etc/apt/apt.conf.d/99contents <<'EOF'
Acquire::IndexTargets::deb::Contents-deb {
  MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)";
  ShortDescription "Contents-$(ARCHITECTURE)";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Contents (deb)";
  flatMetaKey "Contents-$(ARCHITECTURE)";
  flatDescription "$(RELEASE) Contents (deb)";
  PDiffs "false";
  KeepCompressed "true";
  Identifier "Contents-deb";
};
EOF
apt-get -o Acquire::Retries=3 -o Acquire::http::Timeout=30 update -o APT::Update::Error-Mode=any >&2
apt-get indextargets --format '$(FILENAME)' 'Created-By: Contents-deb' | while read -r file; do
  /usr/lib/apt/apt-helper cat-file "$file" | grep -E -- "$PATTERN" || true
done | head -n 5000 > /tmp/found
cat /tmp/found
names=$(awk '{ print $NF }' /tmp/found | tr , '\n' | sed 's|.*/||' | sort -u | head -n 500)
[ -n "$names" ] || exit 0
apt-cache rdepends --important $names 2>/dev/null | awk '
  /^[^ ]/ { if ($0 != "Reverse Depends:") name = $0; next }
  { sub(/^[ |]*/, ""); if (/^default-/) print "default", $0, name }'
dpkg-query --show --showformat '${db:Status-Abbrev} ${Package}\n' $names 2>/dev/null | sed -n 's/^ii */installed /p'
"#;

/// Most packages that an error proposes.
const PROPOSED: usize = 4;

/// Returns the first of `wanted` that Debian has packages for, with these packages, the most likely one first.
pub fn search(wanted: &[Wanted], image: &str, context: &RunContext) -> Result<Option<(Wanted, Vec<String>)>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let docker = context.docker.context("no Docker engine: run `cargo xtask doctor`")?;
    let bundle = match host::ca_bundle() {
        Some(path) => ContextFile { path: "/query/ca.crt".to_owned(), source: Content::File(path), mode: 0o644 },
        None => text("/query/ca.crt", "", 0o644),
    };
    let variables = [("PATTERN".to_owned(), pattern(wanted))];
    let job = Job {
        image,
        command: ["sh", "-c", SEARCH].map(str::to_owned).to_vec(),
        env: variables.into_iter().chain(host::proxies()?).collect(),
        user: Some("root"),
        network: Network::Default,
        inputs: vec![bundle],
        // apt downloads files as a user of its own.
        capabilities: &["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"],
        timeout: Some(Duration::from_secs(180)),
        ..Job::default()
    };
    let result = docker.run(&job, &|_| {}, context.cancel)?;
    let last = result.stderr.trim().lines().last().unwrap_or("no output");
    ensure!(result.exit == 0, "Debian's archive could not be searched: {last}");
    Ok(read(wanted, &result.stdout, &context.facts.platform.multiarch()))
}

/// Returns the Debian packages that have a shared library such as `libX11.so.6` and that the image does not have, the most
/// likely one first. Empty if there is none.
pub fn of_library(library: &str, image: &str, context: &RunContext) -> Result<Vec<String>> {
    let wanted = [Wanted::SharedLibrary(library.to_owned())];
    Ok(search(&wanted, image, context)?.map(|(_, packages)| packages).unwrap_or_default())
}

/// Returns a phrase for users that wait for the search.
pub fn announcement(wanted: &[Wanted]) -> String {
    let names = quoted(wanted.iter().take(PROPOSED).map(Wanted::name));
    format!("searching Debian's archive for the packages that contain {names}")
}

/// Returns an extended regular expression for the lines of a list of contents.
fn pattern(wanted: &[Wanted]) -> String {
    let escape = |text: &String| {
        let special = |c: char| if "\\.+*?()[]{}|^$".contains(c) { vec!['\\', c] } else { vec![c] };
        text.chars().flat_map(special).collect::<String>()
    };
    let ends: Vec<String> = wanted.iter().flat_map(Wanted::ends).map(|end| escape(&end)).collect();
    format!("/({})[[:space:]]+[^[:space:]]+$", ends.join("|"))
}

/// Reads the output of [`SEARCH`].
fn read(wanted: &[Wanted], output: &str, multiarch: &str) -> Option<(Wanted, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut installed: Vec<&str> = Vec::new();
    let mut defaults: Vec<(&str, &str)> = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["installed", package] => installed.push(package),
            ["default", name, package] => defaults.push((name, package)),
            [path, owners] => {
                let owners = owners.split(',').filter_map(|owner| owner.rsplit('/').next());
                found.push((path.to_owned(), owners.filter(|name| is_name(name)).map(str::to_owned).collect()));
            }
            _ => {}
        }
    }
    wanted.iter().find_map(|wanted| {
        let mut names: Vec<String> = Vec::new();
        for name in wanted.choose(&found, multiarch) {
            if installed.contains(&name.as_str()) {
                continue;
            }
            // Debian's default is the package that works together with others.
            let default = defaults.iter().find(|(default, package)| *package == name && is_name(default));
            for name in default.map(|(default, _)| (*default).to_owned()).into_iter().chain([name]) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names.truncate(PROPOSED);
        (!names.is_empty()).then(|| (wanted.clone(), names))
    })
}

/// Returns whether this can be the name of a Debian package. It is written into matrix.yaml.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() > 1 && name.starts_with(plain) && name.chars().all(|c| plain(c) || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::{Wanted, pattern, read};

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let wanted = [Wanted::Program("g++".to_owned()), Wanted::PkgConfig("libxml-2.0".to_owned())];
        assert_eq!(pattern(&wanted), r"/(g\+\+|pkgconfig/libxml-2\.0\.pc)[[:space:]]+[^[:space:]]+$");
    }

    #[test]
    fn the_first_wanted_file_with_packages_is_returned() {
        let output = "usr/bin/mysql_config   libdevel/libmariadb-dev-compat\n\
                      usr/bin/tool           devel/tool,../../evil;\n\
                      default default-libmysqlclient-dev libmariadb-dev-compat\n\
                      installed tool\n";
        let wanted = ["nothing", "tool", "mysql_config"].map(|name| Wanted::Program(name.to_owned()));
        let (found, packages) = read(&wanted, output, "x86_64-linux-gnu").unwrap();
        assert_eq!(found, wanted[2], "the image has `tool` already");
        assert_eq!(packages, ["default-libmysqlclient-dev", "libmariadb-dev-compat"]);
        assert_eq!(read(&wanted[..2], output, "x86_64-linux-gnu"), None);
    }
}
