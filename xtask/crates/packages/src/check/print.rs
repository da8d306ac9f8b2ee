//! Formats the answers: a table of at most 80 columns with notes, or JSON.

use std::fmt::Write as _;

use base::{program, ui};
use build::build_system::BuildSystem;
use serde_json::{Value, json};

use super::Checked;
use super::judge::{Row, SdistContents, WheelState};
use super::prove::{GilVerdict, ProvenGilState, ProvenImage};
use super::target::CheckTarget;

/// Maximum width of the table.
const WIDTH: usize = 80;

/// Maximum width of a version, and minimum of the longest name, which gets the rest of the line.
const VERSION: usize = 16;
const NAME: usize = 12;

/// Maximum width of a name in the table of `--prove`.
const GIL_NAME: usize = 30;

/// Maximum number of ABIs or platforms in a note.
const LISTED: usize = 8;

const CAVEAT: &str = "A wheel does not keep the GIL off: a module that does not declare that it runs without the GIL \
                      switches the GIL on when it is imported. With --prove, this command finds these modules.";

const PARTIAL: &str = "Only what is listed was checked, not what it depends on; a lock file lists everything.";

/// Formats one table per target. `partial`: dependencies were not checked.
pub fn text(checked: &[Checked], partial: bool) -> String {
    let mut out = String::new();
    for (at, checked) in checked.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        table(&mut out, checked);
    }
    if partial {
        out.push('\n');
        ui::wrap(&mut out, "", PARTIAL);
    }
    if checked.iter().any(|checked| checked.target.free_threaded() && checked.proof.is_none()) {
        out.push('\n');
        ui::wrap(&mut out, "", CAVEAT);
    }
    out
}

/// Returns the error if distributions have no wheel, or do not keep the GIL off.
pub fn missing(checked: &Checked) -> Option<String> {
    let (all, abi) = (checked.rows.len(), &checked.target.abi);
    if let Some(proof) = &checked.proof {
        let count = |wanted| proof.verdicts.iter().filter(|verdict| verdict.state() == wanted).count();
        let (on, unknown, missing) =
            (count(ProvenGilState::On), count(ProvenGilState::Unknown), count(ProvenGilState::Missing));
        let all_off = proof.verdicts.iter().all(|verdict| verdict.state().is_off());
        let parts = [(on, "switch the GIL on"), (missing, "are not in the image"), (unknown, "cannot be loaded")];
        let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let text = parts.collect::<Vec<_>>().join(", ");
        return (!all_off).then(|| format!("of {all} distributions for `{abi}`, {text}"));
    }
    let missing = checked.rows.iter().filter(|row| !row.is_ready()).count();
    (missing > 0).then(|| format!("{missing} of {all} distributions are without a wheel for `{abi}`"))
}

fn table(out: &mut String, Checked { target, rows, proof }: &Checked) {
    let threads = if target.free_threaded() { "free-threaded " } else { "" };
    let python = format!("{threads}{}", target.python_name());
    let _ = writeln!(out, "Wheels for {} ({python}) on {}\n", target.abi, target.platform_name());
    if rows.is_empty() {
        let _ = writeln!(out, "nothing is required on this platform");
        return;
    }
    let mut cells = vec![["DISTRIBUTION", "VERSION", "VERDICT", "SINCE"].map(str::to_owned)];
    for row in rows {
        let version = row.version.as_deref().unwrap_or("-");
        // Of a distribution without extension modules, any release is ready.
        let without = matches!(row.judged.verdict, WheelState::Pure | WheelState::NoExtensionModule);
        let since = row.since.as_ref().filter(|_| !without).or(row.later.as_ref()).map_or("-", |text| text);
        let short = |text| shortened(text, VERSION);
        cells.push([row.name.clone(), short(version), verdict(row, target), short(since)]);
    }
    let widest = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let others: usize = (1..4).map(|column| widest(column) + 2).sum();
    let room = WIDTH.saturating_sub(others).max(NAME);
    cells.iter_mut().for_each(|row| row[0] = shortened(&row[0], room));
    out.push_str(&ui::columns(&cells, "  ", |_| false));
    for row in rows.iter().filter(|row| !row.is_ready() || row.withdrawn) {
        out.push('\n');
        let version = row.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
        ui::wrap(out, "", &printable(&format!("{}{version}: {}", row.name, notes(row, target).join(" "))));
        if let Some(command) = command(row) {
            let _ = writeln!(out, "    {}", printable(&command));
        }
    }
    if let Some(proof) = proof {
        out.push('\n');
        proved(out, rows, proof);
    }
}

/// What the image showed.
fn proved(out: &mut String, rows: &[Row], proof: &ProvenImage) {
    let (mut cells, mut notes, mut without) = (Vec::new(), String::new(), 0);
    for (row, verdict) in rows.iter().zip(&proof.verdicts) {
        let name = || shortened(&row.name, GIL_NAME);
        let modules = verdict.declared + verdict.undeclared.len() + verdict.not_loadable.len();
        let gil = match verdict.state() {
            ProvenGilState::NoExtensionModule => {
                without += 1;
                if built_without_native_code(row) {
                    let text =
                        format!("{} was built without the native code of its source, which is optional", row.name);
                    ui::wrap(&mut notes, "", &printable(&text));
                }
                continue;
            }
            ProvenGilState::Off => "stays off",
            ProvenGilState::On => "switched on",
            ProvenGilState::Unknown => "unknown",
            ProvenGilState::Missing => "-",
        };
        let wheel = match verdict.state() {
            ProvenGilState::Missing => "not installed",
            _ if row.wheel.is_some() => "published",
            _ => "built",
        };
        cells.push([name(), wheel.to_owned(), modules.to_string(), gil.to_owned()]);
        if let Some(why) = &verdict.missing {
            ui::wrap(&mut notes, "", &printable(&format!("{} is not in the image: {why}", row.name)));
        }
        if !verdict.undeclared.is_empty() {
            let modules = listed(&verdict.undeclared);
            let text = format!("{} switches the GIL on when one of these is imported: {modules}", row.name);
            ui::wrap(&mut notes, "", &printable(&text));
        }
        if !verdict.not_loadable.is_empty() {
            let text = format!("{} has modules that cannot be loaded: {}", row.name, listed(&verdict.not_loadable));
            ui::wrap(&mut notes, "", &printable(&text));
        }
    }
    let _ = writeln!(out, "In an image with Python {} and all that can be installed:\n", proof.python);
    if !cells.is_empty() {
        cells.insert(0, ["DISTRIBUTION", "WHEEL", "EXTENSION MODULES", "GIL"].map(str::to_owned));
        out.push_str(&ui::columns(&cells, "  ", |column| column == 2));
        out.push('\n');
    }
    if without > 0 {
        let _ = writeln!(out, "{without} more have no extension modules, so they keep the GIL off.\n");
    }
    out.push_str(&notes);
}

/// Returns whether a distribution without extension modules in the image has native code in its source.
fn built_without_native_code(row: &Row) -> bool {
    let native = |source: &SdistContents| matches!(source, SdistContents::Read(system) if !system.languages.is_empty());
    row.wheel.is_none() && row.source.as_ref().is_some_and(native)
}

/// The verdict in at most 26 characters.
fn verdict(row: &Row, target: &CheckTarget) -> String {
    match row.judged.verdict {
        WheelState::Wheel => format!("ready: {} wheel", target.abi),
        WheelState::StableAbi if target.free_threaded() => "ready: abi3t wheel".to_owned(),
        WheelState::StableAbi => "ready: abi3 wheel".to_owned(),
        WheelState::Pure => "ready: pure Python".to_owned(),
        WheelState::NoExtensionModule => "ready: no extension module".to_owned(),
        WheelState::OtherPlatform => "no: other platforms only".to_owned(),
        WheelState::OtherAbi if needs_gil(row, target) => "no: wheels need the GIL".to_owned(),
        WheelState::OtherAbi => "no: wheels for other ABIs".to_owned(),
        WheelState::SourceOnly => "no: source only".to_owned(),
        WheelState::OtherPython => format!("no: not for {}", target.python_name()),
        WheelState::NotFound => "no: not on the index".to_owned(),
        WheelState::NotOnIndex => "unknown: not from an index".to_owned(),
    }
}

/// Returns whether the wheels are only for interpreters with a GIL, and the target has none.
fn needs_gil(row: &Row, target: &CheckTarget) -> bool {
    // PyPy and GraalPy have one, too.
    let starts = |abi: &String| ["abi3", "cp", "graalpy", "pypy"].iter().any(|start| abi.starts_with(start));
    let with_gil = |abi: &String| starts(abi) && !abi.ends_with('t');
    target.free_threaded() && row.judged.instead.iter().all(with_gil)
}

/// Sentences that explain the verdict and say what to do.
fn notes(row: &Row, target: &CheckTarget) -> Vec<String> {
    let instead = listed(&row.judged.instead);
    let mut notes = match row.judged.verdict {
        WheelState::OtherPlatform => {
            vec![format!("its wheels are for {instead}, not for {}.", target.platform_name())]
        }
        WheelState::OtherAbi if needs_gil(row, target) => {
            vec![format!("its wheels are for {instead}; free-threaded interpreters do not load them.")]
        }
        WheelState::OtherAbi => vec![format!("its wheels are for {instead}, not for {}.", target.abi)],
        WheelState::SourceOnly => vec!["there is no wheel, only its source.".to_owned()],
        WheelState::OtherPython => {
            vec![format!("it does not admit {}: its `requires-python` is {instead}.", target.python_name())]
        }
        WheelState::NotFound => vec![not_found(row)],
        WheelState::NotOnIndex => vec!["its files are not known.".to_owned()],
        _ => Vec::new(),
    };
    if row.withdrawn {
        notes.push("This version was withdrawn by its publisher.".to_owned());
    }
    notes.extend(row.place.as_ref().map(|place| format!("It comes from {place}.")));
    notes.extend(row.later.as_ref().map(|later| format!("Version {later} is ready.")));
    match &row.source {
        Some(SdistContents::Read(system)) => notes.push(format!("Building it takes {}.", takes(system))),
        Some(SdistContents::Unreadable(why)) => notes.push(format!("Its source cannot be read: {why}.")),
        None => {}
    }
    notes
}

/// Returns the command that builds a distribution from source.
fn command(row: &Row) -> Option<String> {
    let version = row.version.as_ref().filter(|_| row.sdist.is_some())?;
    Some(format!("{} add {}=={version}", program::command(), row.name))
}

fn not_found(row: &Row) -> String {
    match &row.newest {
        None => "the index has no project of this name with usable files.".to_owned(),
        Some(newest) => format!("the index has no such version; the newest is {newest}."),
    }
}

/// `setuptools, Cython>=3 (backend setuptools.build_meta) and compilers for C, Cython`
fn takes(system: &BuildSystem) -> String {
    let backend = system.backend.split(':').next().unwrap_or_default();
    let requires = if system.requires.is_empty() { "no further packages".to_owned() } else { listed(&system.requires) };
    let languages: Vec<&str> = system.languages.iter().copied().collect();
    match languages.is_empty() {
        true => format!("{requires} (backend {backend}); the source has no native code"),
        false => format!("{requires} (backend {backend}); the source has native code in {}", languages.join(", ")),
    }
}

fn listed(items: &[String]) -> String {
    let mut text = items.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > LISTED {
        let _ = write!(text, " and {} more", items.len() - LISTED);
    }
    text
}

/// Replaces control characters in text from files and from the index.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn shortened(text: &str, width: usize) -> String {
    let text = printable(text);
    match text.chars().count() > width {
        true => text.chars().take(width - 1).chain(['~']).collect(),
        false => text,
    }
}

pub fn json(checked: &[Checked]) -> Value {
    let target = |Checked { target, rows, proof }: &Checked| {
        let (major, minor) = target.glibc;
        let gil = |at: usize| proof.as_ref().and_then(|proof| proof.verdicts.get(at));
        let distribution = |(at, row): (usize, &Row)| distribution(row, target, gil(at));
        json!({
            "abi": target.abi,
            "python": target.python.to_string(),
            "platform": target.platform.oci(),
            "glibc": format!("{major}.{minor}"),
            "ready": rows.iter().filter(|row| row.is_ready()).count(),
            "proven_with": proof.as_ref().map(|proof| &proof.python),
            "distributions": rows.iter().enumerate().map(distribution).collect::<Vec<_>>(),
        })
    };
    json!({"targets": checked.iter().map(target).collect::<Vec<_>>()})
}

fn distribution(row: &Row, target: &CheckTarget, gil: Option<&GilVerdict>) -> Value {
    let source = row.source.as_ref().map(|source| match source {
        SdistContents::Read(system) => {
            json!({"backend": system.backend, "requires": system.requires, "languages": system.languages})
        }
        SdistContents::Unreadable(why) => json!({"error": why}),
    });
    json!({
        "name": row.name,
        "version": row.version,
        "ready": row.is_ready(),
        "verdict": row.judged.verdict,
        "wheel": row.judged.file,
        "instead": row.judged.instead,
        "since": row.since,
        "later": row.later,
        "newest": row.newest,
        "withdrawn": row.withdrawn,
        "sdist": row.sdist.as_ref().map(|file| &file.name),
        "source": source,
        "place": row.place,
        "gil": gil.map(|gil| json!({
            "state": gil.state(),
            "missing": gil.missing,
            "declared": gil.declared,
            "undeclared": gil.undeclared,
            "not_loadable": gil.not_loadable,
        })),
        "note": notes(row, target).join(" "),
        "command": command(row),
    })
}
