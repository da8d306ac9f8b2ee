//! Compares pins with registries: updated tags of pinned images, and newly published base images.

use anyhow::Result;

use super::{BUILT, PinnedInput, State};
use matrix::{Location, Matrix};

/// Returns the digest of a tag; `None` if the tag does not exist.
type Offer<'a> = &'a (dyn Fn(&str) -> Result<Option<String>> + Sync);

pub fn rows(matrix: &Matrix, offer: Offer) -> Vec<PinnedInput> {
    let images = matrix.root.image.iter().chain(matrix.server.iter().map(|server| &server.image));
    let k6 = matrix.bench.iter().filter_map(|bench| bench.serve.as_ref()).map(|serve| &serve.k6);
    let images = images.chain(k6);
    let bases = matrix.abis.iter().filter(|abi| abi.free_threaded()).map(|abi| abi.base_tag(None));
    // In parallel, because an unreachable registry takes long to time out.
    std::thread::scope(|scope| {
        let images: Vec<_> = images.map(|image| scope.spawn(move || pinned(image, offer))).collect();
        let bases: Vec<_> = bases.map(|tag| scope.spawn(move || base(&tag, offer))).collect();
        let all = images.into_iter().chain(bases);
        all.map(|row| row.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Checks the tag, which may have been rebuilt, and the shorter moving tag. The engine cannot list the tags of a
/// registry.
fn pinned(image: &Location, offer: Offer) -> PinnedInput {
    let (name, digest) = image.split_once('@').unwrap_or((image, ""));
    let short = |digest: &str| digest.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    let input = format!("image {name}");
    let now = match offer(name) {
        Ok(Some(now)) => now,
        Ok(None) => {
            return PinnedInput::new(input, &short(digest), State::Newer, "the registry no longer has this tag");
        }
        Err(error) => return PinnedInput::new(input, &short(digest), State::Unasked, first_line(&error)),
    };
    if now != digest {
        let edits = vec![image.becomes(format!("{name}@{now}"))];
        return PinnedInput::newer(input, &short(digest), &short(&now), "the tag was made anew", edits);
    }
    let Some(moving) = moving(name) else {
        return PinnedInput::new(input, &short(digest), State::Current, "");
    };
    match offer(&moving) {
        Ok(Some(latest)) if latest != digest => {
            let note = format!("`{moving}` is newer; find its full tag, or use\n  image: {moving}@{latest}");
            PinnedInput::newer(input, &short(digest), &short(&latest), note, Vec::new())
        }
        Ok(Some(_)) => PinnedInput::new(input, &short(digest), State::Current, ""),
        Ok(None) => PinnedInput::new(
            input,
            &short(digest),
            State::Current,
            format!("there is no moving tag `{moving}` to compare with"),
        ),
        Err(error) => {
            PinnedInput::new(input, &short(digest), State::Unasked, format!("`{moving}`: {}", first_line(&error)))
        }
    }
}

/// Returns the moving tag: `debian:bookworm-slim` for `debian:bookworm-20260824-slim`, `server:8.1.2` for
/// `server:8.1.2.3`.
fn moving(name: &str) -> Option<String> {
    let (repository, tag) = name.rsplit_once(':')?;
    let is_date = |part: &&str| part.len() == 8 && part.bytes().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = tag.split('-').collect();
    if parts.len() > 1 && parts.iter().any(is_date) {
        let rest: Vec<&str> = parts.into_iter().filter(|part| !is_date(part)).collect();
        return Some(format!("{repository}:{}", rest.join("-")));
    }
    let (shorter, last) = tag.rsplit_once('.')?;
    last.bytes().all(|c| c.is_ascii_digit()).then(|| format!("{repository}:{shorter}"))
}

/// Free-threaded base images are compiled because none is published; checks whether one is available now.
fn base(tag: &str, offer: Offer) -> PinnedInput {
    let reference = format!("python:{tag}");
    let input = format!("base image {reference}");
    match offer(&reference) {
        Ok(None) => PinnedInput::new(input, BUILT, State::Current, "nobody publishes it"),
        Ok(Some(digest)) => {
            PinnedInput::newer(input, BUILT, "there", format!("now published: {reference}@{digest}"), Vec::new())
        }
        Err(error) => PinnedInput::new(input, BUILT, State::Unasked, first_line(&error)),
    }
}

/// The row already contains the name that was requested.
fn first_line(error: &anyhow::Error) -> String {
    error.root_cause().to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::moving;

    #[test]
    fn the_tag_that_moves_along() {
        assert_eq!(moving("debian:bookworm-20260824-slim").as_deref(), Some("debian:bookworm-slim"));
        assert_eq!(moving("r.example:5000/a/server:8.1.2.3").as_deref(), Some("r.example:5000/a/server:8.1.2"));
        assert_eq!(moving("debian:bookworm-slim"), None);
    }
}
