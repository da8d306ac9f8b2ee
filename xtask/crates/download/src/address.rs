//! Checks URLs before any request.

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Url;

/// Maximum length of a URL in bytes.
const LONGEST: usize = 8 << 10;

/// Parses an absolute `http` or `https` URL.
pub fn parse_url(text: &str) -> Result<Url> {
    check_text(text)?;
    let url = Url::parse(text).context("it is not a URL")?;
    check(url)
}

/// Resolves a link on a page. Errors do not contain the text of the link, which is untrusted.
pub fn join_url(page: &Url, link: &str) -> Result<Url> {
    check_text(link)?;
    let url = check(page.join(link).context("the link is not a URL")?)?;
    ensure!(page.scheme() != "https" || url.scheme() == "https", "the link leads from https to http");
    Ok(url)
}

/// Formats a URL for messages, without user, password, query and fragment, which may contain secrets.
pub fn display_url(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Rejects control characters and spaces: a URL parser skips them, and readers overlook them.
fn check_text(text: &str) -> Result<()> {
    ensure!(text.len() <= LONGEST, "the URL is longer than {LONGEST} bytes");
    ensure!(!text.chars().any(|c| c.is_control() || c == ' '), "the URL contains control characters or spaces");
    Ok(())
}

fn check(url: Url) -> Result<Url> {
    if !matches!(url.scheme(), "http" | "https") {
        bail!("the scheme of the URL is neither `https:` nor `http:`");
    }
    ensure!(url.host_str().is_some_and(|host| !host.is_empty()), "the URL names no host");
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_and_other_schemes_are_errors() {
        let page = parse_url("https://me:secret@index.example/root/simple/x/").unwrap();
        let good = [
            ("../../f/x-1.whl", "https://me:secret@index.example/root/f/x-1.whl"),
            ("/f/x-1.whl", "https://me:secret@index.example/f/x-1.whl"),
            ("https://files.example/x%2B1.whl", "https://files.example/x%2B1.whl"),
            // Brackets are not expanded as a range, as curl would do.
            ("x-[1-999999999].whl", "https://me:secret@index.example/root/simple/x/x-[1-999999999].whl"),
        ];
        for (link, wanted) in good {
            assert_eq!(join_url(&page, link).unwrap().as_str(), wanted);
        }
        for wrong in [
            "http://h/x\noutput=/etc/passwd",
            "https://h/x\ry",
            "https://h/\u{85}",
            "https://h/x y",
            "file:///etc/passwd",
            "ftp://h/x",
            "data:text/plain,x",
            "http://index.example/x",
            "https://",
            "https://h:99999/",
        ] {
            let error = format!("{:#}", join_url(&page, wrong).unwrap_err());
            assert!(!error.contains("passwd"), "{error}");
        }
        assert!(join_url(&page, &"a".repeat(10_000)).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = parse_url("https://me:secret@index.example:8443/simple/x/?token=secret#secret").unwrap();
        assert_eq!(display_url(&url), "https://index.example:8443/simple/x/");
    }
}
