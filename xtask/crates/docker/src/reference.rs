//! Image references: `registry/name:tag` or `registry/name@digest`.

use anyhow::{Result, ensure};

/// Refuses a reference with unusual characters: it becomes part of a URL, where they would address something else.
pub fn check_reference(reference: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    ensure!(
        !reference.is_empty()
            && reference.chars().all(allowed)
            && !reference.contains("..")
            && !reference.starts_with('/'),
        "`{reference}` is not an image reference; write it as `registry/name:tag`"
    );
    Ok(())
}

/// Splits `name:tag` or `name@digest`. Without tag and digest the tag is `latest`, as in the docker client.
pub fn split_reference(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (split_tag(name).0, digest);
    }
    let (name, tag) = split_tag(reference);
    (name, tag.unwrap_or("latest"))
}

fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_and_checked() {
        assert_eq!(split_reference("a/b"), ("a/b", "latest"));
        assert_eq!(split_reference("h:5/a/b"), ("h:5/a/b", "latest"));
        assert_eq!(split_reference("h:5/a:1"), ("h:5/a", "1"));
        assert_eq!(split_reference("a:1@sha256:0"), ("a", "sha256:0"));
        assert!(check_reference("a?b").is_err() && check_reference("../x").is_err() && check_reference("a:b").is_ok());
    }
}
