//! `cargo xtask cache`: shows and reduces the contents of the cache.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use base::ui::{self, bytes};
use build::cache::{Cache, StepRecord};

/// Cache entry that is kept or removed as a whole.
#[derive(Debug)]
struct Item {
    /// `files`, `records`, `tools`, `cargo` …
    kind: String,
    path: PathBuf,
    /// Size in bytes.
    size: u64,
    used: SystemTime,
    /// Whether the entry is unreferenced or unreadable.
    lost: bool,
}

/// Formats a table of the entries by kind.
pub fn show(cache: &Cache) -> Result<String> {
    let mut kinds: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let items = items(cache)?;
    for item in &items {
        let (count, size) = kinds.entry(item.kind.clone()).or_default();
        *count += 1;
        *size += item.size;
    }
    let row = |kind: &str, count: usize, size: u64| [kind.to_owned(), count.to_string(), bytes(size)];
    let mut rows: Vec<_> = kinds.iter().map(|(kind, (count, size))| row(kind, *count, *size)).collect();
    rows.push(row("all", items.len(), items.iter().map(|item| item.size).sum()));
    Ok(format!("{}\n{}", cache.dir().display(), ui::columns(&rows, " ", |column| column > 0)))
}

/// Removes unreferenced entries, then the least recently used ones until at most `limit` bytes remain.
pub fn prune(cache: &Cache, limit: Option<u64>) -> Result<String> {
    let _alone = cache.alone().context("the cache is in use by another run: try again after it has finished")?;
    let mut items = items(cache)?;
    items.sort_by_key(|item| (!item.lost, item.used));
    let mut total: u64 = items.iter().map(|item| item.size).sum();
    let (mut count, mut freed) = (0, 0);
    for item in &items {
        if !item.lost && limit.is_none_or(|limit| total <= limit) {
            break;
        }
        let removed = if item.path.is_dir() { fs::remove_dir_all(&item.path) } else { fs::remove_file(&item.path) };
        removed.with_context(|| format!("cannot remove `{}`", item.path.display()))?;
        total = total.saturating_sub(item.size);
        freed += item.size;
        count += 1;
    }
    Ok(format!("removed {count} items, {}; {} left\n", bytes(freed), bytes(total)))
}

fn items(cache: &Cache) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    // A file's time of last use is that of the latest record that references it; that of a tools folder, whose name
    // ends with the start of its key, is that of its record.
    let mut used: BTreeMap<String, SystemTime> = BTreeMap::new();
    for (path, meta) in list(&cache.dir().join("records"))? {
        let record = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<StepRecord>(&text).ok());
        let when = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        for file in record.iter().flat_map(|record| &record.output.files) {
            let known = used.entry(file.sha256.clone()).or_insert(when);
            *known = when.max(*known);
        }
        if let Some(record) = &record {
            used.insert(record.key.chars().take(16).collect(), when);
        }
        items.push(Item { kind: "records".into(), path, size: meta.len(), used: when, lost: record.is_none() });
    }
    for (path, meta) in list(&cache.dir().join("blobs"))? {
        let when = used.get(&path.file_name().unwrap_or_default().to_string_lossy().into_owned()).copied();
        let lost = when.is_none();
        items.push(Item {
            kind: "files".into(),
            path,
            size: meta.len(),
            used: when.unwrap_or(SystemTime::UNIX_EPOCH),
            lost,
        });
    }
    for (path, meta) in list(&cache.dir().join("logs"))? {
        let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        items.push(Item { kind: "logs".into(), path, size: meta.len(), used, lost: false });
    }
    for (path, meta) in list(&cache.dir().join("state"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lost = name.starts_with("tools-") && !path.join("complete").exists();
        let kind = name.split('-').next().unwrap_or_default().to_owned();
        let size = size(&path)?;
        let made = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let used = used.get(name.strip_prefix("tools-").unwrap_or_default()).map_or(made, |when| made.max(*when));
        items.push(Item { kind, path, size, used, lost });
    }
    Ok(items)
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        found.push((entry.path(), entry.metadata()?));
    }
    Ok(found)
}

/// Returns the size of a folder in bytes. Files that disappear meanwhile are ignored.
fn size(path: &Path) -> Result<u64> {
    let meta = path.symlink_metadata()?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let Ok(entries) = fs::read_dir(path) else { bail!("cannot list `{}`", path.display()) };
    Ok(entries.flatten().map(|entry| size(&entry.path()).unwrap_or(0)).sum())
}
