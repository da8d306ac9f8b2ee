//! Downloads pinned files; nothing is used or kept before its digest was checked.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::{Env, apt, tools};
use crate::cache::{Artefact, Output};
use crate::digest;
use crate::plan::{Download, Fetch};
use crate::proc::{self, Talk};
use crate::wheelfile::{belongs, normalise};

/// Part of this step's key. Raise it if a change of the code can change the result.
pub const REVISION: u32 = 1;

pub fn run(fetch: &Fetch, env: &Env) -> Result<Output> {
    let mut output = Output::default();
    for file in &fetch.files {
        output.files.push(download(file, env).with_context(|| format!("cannot download `{}`", file.name))?);
    }
    Ok(output)
}

fn download(file: &Download, env: &Env) -> Result<Artefact> {
    let places = if file.from.is_empty() {
        let (project, version) = file.name.split_once("==").context("a pin without `==`: this is a bug")?;
        let place = look_up(project, &file.sha256, env)?;
        if !belongs(&place.name, project, version) {
            bail!("the pinned SHA-256 is that of `{}`: correct version or digest in matrix.yaml", place.name);
        }
        vec![place]
    } else {
        let mut places = Vec::new();
        for place in &file.from {
            match place.strip_prefix("debian:") {
                None => places.push(Place { url: place.to_string(), name: file.name.clone(), size: None }),
                Some(path) => places.extend(debian_mirrors(env).into_iter().map(|mirror| Place {
                    url: format!("{}/{path}", mirror.trim_end_matches('/')),
                    name: file.name.clone(),
                    size: None,
                })),
            }
        }
        places
    };
    let mut errors = Vec::new();
    for place in &places {
        let path = env.scratch.join("download");
        match curl(place, &path, env) {
            Ok(()) => {
                let found = digest::of_file(&path)?;
                if found == file.sha256 {
                    return env.context.cache.take(&path, &place.name);
                }
                errors.push(format!(
                    "{} has the SHA-256 `{found}`, not the pinned `{}`: what was sent is not what the matrix \
                     means, and was not kept",
                    shown(&place.url),
                    file.sha256
                ));
            }
            Err(error) => errors.push(format!("{error:#}")),
        }
        env.context.cancel.check()?;
    }
    if errors.is_empty() {
        bail!("no place to download it from: apt on this machine names no Debian mirror");
    }
    Err(anyhow!(errors.join("; ")))
}

struct Place {
    url: String,
    name: String,
    size: Option<u64>,
}

/// Asks the package index (PEP 503, or PEP 691 where it speaks JSON) for the file with a digest.
fn look_up(project: &str, sha256: &str, env: &Env) -> Result<Place> {
    let index = index_url(env)?;
    // PEP 503: the normalised name must be asked for.
    let page = format!("{}/{}/", index.trim_end_matches('/'), normalise(project));
    let path = env.scratch.join("index");
    curl(&Place { url: page.clone(), name: "index".to_owned(), size: None }, &path, env)?;
    let text = std::fs::read_to_string(&path).context("the package index answered with something that is not text")?;
    find_in_index(&text, &page, sha256).with_context(|| {
        format!(
            "the index lists no file of `{project}` with the SHA-256 `{sha256}`: correct version and digest in \
             matrix.yaml, or the index that pip is set up with lacks the file"
        )
    })
}

fn find_in_index(text: &str, page: &str, sha256: &str) -> Option<Place> {
    if let Ok(json) = serde_json::from_str::<Value>(text) {
        let file = json["files"].as_array()?.iter().find(|file| file["hashes"]["sha256"] == sha256)?;
        let url = absolute(page, file["url"].as_str()?);
        return Some(Place { url, name: file_name(file["filename"].as_str()?)?, size: file["size"].as_u64() });
    }
    let at = text.find(&format!("#sha256={sha256}"))?;
    let start = text[..at].rfind(['"', '\''])? + 1;
    let link = &text[start..at];
    let name = file_name(&link.rsplit('/').next()?.replace("%2B", "+").replace("%2b", "+"))?;
    Some(Place { url: absolute(page, &link.replace("&amp;", "&")), name, size: None })
}

/// What an index calls a file becomes a path here: letters, digits and what PEP 427 and 625 need.
fn file_name(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(plain)).then(|| name.to_owned())
}

/// Resolves a link of the index page, as far as indexes use relative ones.
fn absolute(page: &str, link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let host_end = page.find("://").map_or(0, |at| page[at + 3..].find('/').map_or(page.len(), |slash| at + 3 + slash));
    if link.starts_with('/') {
        return format!("{}{link}", &page[..host_end]);
    }
    let mut folder: Vec<&str> = page[host_end..].trim_matches('/').split('/').collect();
    let mut rest = link;
    while let Some(shorter) = rest.strip_prefix("../") {
        folder.pop();
        rest = shorter;
    }
    format!("{}/{}/{rest}", &page[..host_end], folder.join("/"))
}

/// The index that this user's pip is set up with: its own default where nobody changed it.
fn index_url(env: &Env) -> Result<String> {
    if let Ok(url) = std::env::var("PIP_INDEX_URL")
        && !url.is_empty()
    {
        return Ok(url);
    }
    let python = tools::installed(env)?.join("bin/python");
    let shell = Shell::new()?;
    let script = "from pip._internal.configuration import Configuration as C\n\
                  from pip._internal.models.index import PyPI\n\
                  c = C(isolated=False); c.load()\n\
                  d = dict(c.items())\n\
                  flat = {k: v for s in d.values() for k, v in s.items()} if all(isinstance(v, dict) for v in d.values()) else d\n\
                  print(flat.get('install.index-url') or flat.get('global.index-url') or PyPI.simple_url)";
    let output = cmd!(shell, "{python} -c {script}").quiet().ignore_stderr().read();
    output.context("cannot ask pip for its package index: set PIP_INDEX_URL")
}

/// The mirrors that apt takes packages from; none on a system without apt.
fn debian_mirrors(env: &Env) -> Vec<String> {
    let sites = apt::index_targets("$(SITE)");
    env.task.line(&format!("apt's mirrors: {}", sites.iter().map(|site| shown(site)).collect::<Vec<_>>().join(" ")));
    sites.into_iter().filter(|site| site.starts_with("http")).collect()
}

fn curl(place: &Place, path: &Path, env: &Env) -> Result<()> {
    // By way of standard input, since a URL may carry a password that a process list would show.
    let mut config =
        format!("url = \"{}\"\noutput = \"{}\"\n", escape(&place.url), escape(&path.display().to_string()));
    for name in ["PIP_CERT", "REQUESTS_CA_BUNDLE"] {
        if let Some(bundle) = std::env::var(name).ok().filter(|bundle| PathBuf::from(bundle).is_file()) {
            config.push_str(&format!("cacert = \"{}\"\n", escape(&bundle)));
            break;
        }
    }
    let shell = Shell::new()?;
    let accept = "Accept: application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1";
    let command = cmd!(
        shell,
        "curl --config - --fail --location --silent --show-error --netrc-optional --retry 3 --connect-timeout 20
         --speed-limit 1 --speed-time 60 --proto =https,http,file --header {accept}"
    );
    let done = || {
        let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
        env.task.bytes(&place.name, size, place.size);
    };
    env.task.line(&format!("downloading {} from {}", place.name, shown(&place.url)));
    proc::talk(command, env.task, env.context.cancel, &Talk { input: &config, tick: &done, ..Talk::default() }).map_err(
        |_| {
            let said = env.task.tail().into_iter().rev().find(|line| line.starts_with("curl: "));
            anyhow!(
                "{}: {}: check the network and the proxy settings",
                shown(&place.url),
                said.unwrap_or_else(|| "curl failed".to_owned())
            )
        },
    )
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A URL without the name and password that it may carry.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "7e32597b99e5d9a39abed35de4693fa169df3e5850d4c334337ffd6a19a36db6";

    #[test]
    fn a_file_is_found_by_digest_in_json_and_in_html() {
        let json = format!(
            r#"{{"files": [{{"filename": "x-1.whl", "url": "../../f/x-1.whl", "size": 3, "hashes": {{"sha256": "{SHA}"}}}}]}}"#
        );
        let html = format!(r#"<a href="../../f/x-1.whl#sha256={SHA}">x-1.whl</a>"#);
        for text in [json, html] {
            let place = find_in_index(&text, "https://index.example/root/simple/x/", SHA).unwrap();
            assert_eq!(place.url, "https://index.example/root/f/x-1.whl");
            assert_eq!(place.name, "x-1.whl");
        }
        let outside =
            format!(r#"{{"files": [{{"filename": "../x.whl", "url": "x", "hashes": {{"sha256": "{SHA}"}}}}]}}"#);
        assert!(find_in_index(&outside, "https://index.example/simple/x/", SHA).is_none());
        assert!(find_in_index("<html></html>", "https://index.example/simple/x/", SHA).is_none());
    }

    #[test]
    fn a_digest_of_another_version_is_noticed() {
        assert!(belongs("aerospike_py-0.14.4.tar.gz", "aerospike-py", "0.14.4"));
        assert!(belongs("aerospike-19.3.0-cp314-cp314-manylinux_2_28_x86_64.whl", "aerospike", "19.3.0"));
        assert!(!belongs("aerospike_py-0.14.4.tar.gz", "aerospike-py", "0.14"));
        assert!(!belongs("aerospike_py-0.14.4.tar.gz", "aerospike", "0.14.4"));
        assert!(!belongs("aerospike_py-0.14.4.tar.gz", "aerospike-py", "0.99.4"));
        // PEP 625 normalises the name and the version, older build backends neither.
        assert!(belongs("calver_demo-2026.8.1.tar.gz", "Calver.Demo", "2026.08.1"));
        assert!(belongs("calver-demo-2026.08.1.tar.gz", "calver_demo", "2026.8.1"));
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://me:secret@index.example/simple/x/"), "https://index.example/simple/x/");
    }
}
