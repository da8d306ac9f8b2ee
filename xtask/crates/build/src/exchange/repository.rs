//! Name of a repository in a registry, as given on the command line.

use std::fmt;

/// Name of an image without tag and digest: `ghcr.io/me/cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository(String);

impl Repository {
    /// Parses a name by the grammar of the OCI distribution specification.
    pub fn parse(text: &str) -> Result<Repository, String> {
        let wrong = |why: &str| Err(format!("{why}: write it as `ghcr.io/me/cache` or `127.0.0.1:5000/cache`"));
        if text.contains('@') {
            return wrong("a repository name must not contain a digest");
        }
        let (host, path) = match text.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
            _ => (None, text),
        };
        if path.contains(':') || (host.is_none() && text.contains(':')) {
            return wrong("a repository name must not contain a tag, because keys are used as tags");
        }
        let (name, port) = host.map_or(("", None), |host| match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        });
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let edges = |part: &str| part.starts_with(['.', '-']) || part.ends_with(['.', '-']);
        if host.is_some() && (name.is_empty() || !name.chars().all(plain) || edges(name) || name.contains("..")) {
            return wrong("its registry is not a valid host name");
        }
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return wrong("the port of its registry is not a number");
        }
        if text.len() > 255 || !path.split('/').all(component) {
            return wrong("it is not a valid repository name in lower case");
        }
        Ok(Repository(text.to_owned()))
    }

    /// Returns the image name of the step `id` in this repository. The tag is that of the name in the engine.
    pub fn name(&self, id: &str, key: &str) -> String {
        format!("{self}:{id}-{}", &key[..16])
    }
}

/// Returns whether the text consists of lower-case letters and digits, separated by `.`, `_`, `__` or dashes.
fn component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = |part: &str| matches!(part, "" | "." | "_" | "__") || part.chars().all(|c| c == '-');
    text.starts_with(word) && text.ends_with(word) && text.split(word).all(between)
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Repository;

    #[test]
    fn repositories() {
        for good in ["ghcr.io/me/cache", "127.0.0.1:5100/cache", "localhost/a", "me/cache", "r.example:443/a__b/c-d.e"]
        {
            assert_eq!(Repository::parse(good).unwrap().to_string(), good);
        }
        for wrong in [
            "",
            "/",
            "a/",
            "me/cache:tag",
            "cache:1",
            "127.0.0.1:5100",
            "127.0.0.1:5100/",
            "h:x/cache",
            "Me/Cache",
            "ghcr.io/me/cache:1",
            "a@sha256:0",
            "https://ghcr.io/me",
            "ghcr.io//x",
            "-a.b/c",
            "a..b/c",
            "x y",
            "a/../b",
        ] {
            assert!(Repository::parse(wrong).is_err(), "{wrong}");
        }
    }
}
