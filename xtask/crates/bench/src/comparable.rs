//! Decides whether two configurations may be compared: all conditions but one named difference must be equal.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::record::{Config, Record};
use matrix::GilState;

/// Variable of the interpreter that sets the GIL state. It is compared as the state that the service reports.
const GIL_VARIABLE: &str = "PYTHON_GIL";

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aspect {
    Interpreter,
    Build,
    Gil,
    Packages,
    Image,
    Variables,
    Stages,
    /// The load and everything around the service.
    Load,
}

/// A property that can change figures.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    aspect: Aspect,
    name: &'static str,
    /// `None` if the version of the tool that measured did not record it.
    value: Option<String>,
}

/// Kind of the one difference between two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No recorded condition differs.
    Nothing,
    /// Version and ABI of the interpreter, with the GIL state.
    Interpreter,
    /// Versions of packages, or which packages the image has.
    Packages,
    /// How the interpreter was compiled.
    Build,
    /// The GIL state of the same interpreter.
    Gil,
    /// Whether stage metrics are on.
    Stages,
    /// Environment variables.
    Variables,
    /// The image was built again from the same versions.
    Image,
}

/// The one difference between two configurations that may be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub kind: Kind,
    /// Names what differs: `GIL state (on → off)`.
    pub words: String,
    /// Conditions that could not be checked, because the record does not have them.
    pub unknown: Vec<&'static str>,
}

/// Two configurations of one record that may be compared.
pub struct Comparison<'r> {
    pub base: &'r Config,
    pub other: &'r Config,
    pub difference: Difference,
}

/// Configurations of a record that are compared, and those that are not.
#[derive(Default)]
pub struct Comparisons<'r> {
    pub made: Vec<Comparison<'r>>,
    /// Configurations that differ from the first in more than one thing, with the reason.
    pub refused: Vec<(&'r Config, String)>,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Interpreter, Kind::Packages, Kind::Build, Kind::Gil, Kind::Stages, Kind::Variables, Kind::Image];

    /// Returns what may differ in a comparison of this kind, the decisive aspect first.
    fn allows(self) -> &'static [Aspect] {
        match self {
            Kind::Nothing => &[],
            Kind::Interpreter => &[Aspect::Interpreter, Aspect::Gil, Aspect::Image],
            Kind::Packages => &[Aspect::Packages, Aspect::Image],
            Kind::Build => &[Aspect::Build, Aspect::Image],
            Kind::Gil => &[Aspect::Gil],
            Kind::Stages => &[Aspect::Stages],
            Kind::Variables => &[Aspect::Variables],
            Kind::Image => &[Aspect::Image],
        }
    }
}

/// Returns the comparisons of a record: each configuration with the earliest one from which it differs in a single
/// thing, once for each kind of difference.
pub fn comparisons(record: &Record) -> Comparisons<'_> {
    let mut found = Comparisons::default();
    for (index, other) in record.configs.iter().enumerate().skip(1) {
        let mut kinds = Vec::new();
        for base in &record.configs[..index] {
            if let Ok(difference) = within(record, base, other)
                && !kinds.contains(&difference.kind)
            {
                kinds.push(difference.kind);
                found.made.push(Comparison { base, other, difference });
            }
        }
        if let Err(why) = within(record, &record.configs[0], other) {
            found.refused.push((other, why));
        }
    }
    found
}

/// Returns the one difference between two configurations of a record; fails with the reason why they are not
/// comparable.
pub fn within(record: &Record, base: &Config, other: &Config) -> Result<Difference, String> {
    let pairs = pairs(conditions(record, base), conditions(record, other));
    let differing: Vec<&Pair> = pairs.iter().filter(|pair| pair.differs()).collect();
    let blockers = |kind: &Kind| differing.iter().filter(|pair| !kind.allows().contains(&pair.aspect)).count();
    // In a record without ABIs, another image may have another interpreter.
    let hidden = pairs.iter().any(|pair| pair.aspect == Aspect::Interpreter && pair.unknown());
    let decides = |kind: &Kind, aspect: Aspect| {
        aspect == kind.allows()[0] || (hidden && aspect == Aspect::Image && *kind == Kind::Interpreter)
    };
    let possible = Kind::ALL.into_iter().filter(|kind| differing.iter().any(|pair| decides(kind, pair.aspect)));
    let kind = possible.min_by_key(blockers).unwrap_or(Kind::Nothing);
    difference(&pairs, kind, kind.allows())
}

/// Returns the difference between two records of the same configuration, in which the image may differ.
pub fn between(before: (&Record, &Config), after: (&Record, &Config)) -> Result<Difference, String> {
    let pairs = pairs(conditions(before.0, before.1), conditions(after.0, after.1));
    let allowed = [Aspect::Interpreter, Aspect::Build, Aspect::Packages, Aspect::Image];
    let kind = if pairs.iter().any(Pair::differs) { Kind::Image } else { Kind::Nothing };
    difference(&pairs, kind, &allowed)
}

/// A condition on both sides.
struct Pair {
    aspect: Aspect,
    name: &'static str,
    values: (Option<String>, Option<String>),
}

impl Pair {
    fn differs(&self) -> bool {
        matches!(&self.values, (Some(a), Some(b)) if a != b)
    }

    fn unknown(&self) -> bool {
        self.values.0.is_none() || self.values.1.is_none()
    }

    fn words(&self, between: &str) -> String {
        let (a, b) = (self.values.0.as_deref().unwrap_or_default(), self.values.1.as_deref().unwrap_or_default());
        let shown = |value: &str, other: &str| {
            // Of long lists only what the other one lacks.
            let all: Vec<&str> = other.split(", ").collect();
            let long = matches!(self.aspect, Aspect::Packages | Aspect::Variables);
            let own: Vec<&str> = value.split(", ").filter(|item| !long || !all.contains(item)).collect();
            let text = own.join(", ");
            if text.is_empty() { "none".to_owned() } else { text }
        };
        match self.aspect {
            Aspect::Image => self.name.to_owned(),
            _ => format!("{} ({}{between}{})", self.name, shown(a, b), shown(b, a)),
        }
    }
}

fn pairs(a: Vec<Condition>, b: Vec<Condition>) -> Vec<Pair> {
    let pair = |(a, b): (Condition, Condition)| Pair { aspect: a.aspect, name: a.name, values: (a.value, b.value) };
    a.into_iter().zip(b).map(pair).collect()
}

fn difference(pairs: &[Pair], kind: Kind, allowed: &[Aspect]) -> Result<Difference, String> {
    let differing: Vec<&Pair> = pairs.iter().filter(|pair| pair.differs()).collect();
    let blockers: Vec<String> =
        differing.iter().filter(|pair| !allowed.contains(&pair.aspect)).map(|pair| pair.words(" against ")).collect();
    match blockers.as_slice() {
        [] => {}
        [one] => return Err(format!("not comparable: the {one} differs")),
        [first @ .., last] => {
            return Err(format!("not comparable: the {} and the {last} differ", first.join(", the ")));
        }
    }
    // Another image is a consequence of what else differs, if everything else is known.
    let known = pairs.iter().filter(|pair| pair.aspect == Aspect::Interpreter).all(|pair| !pair.unknown());
    let other = known && differing.iter().any(|pair| pair.aspect != Aspect::Image);
    let named: Vec<String> =
        differing.iter().filter(|pair| !other || pair.aspect != Aspect::Image).map(|pair| pair.words(" → ")).collect();
    let words = if named.is_empty() { "nothing".to_owned() } else { named.join(", ") };
    let unknown = pairs.iter().filter(|pair| pair.unknown()).map(|pair| pair.name).collect();
    Ok(Difference { kind, words, unknown })
}

/// Returns everything that is recorded and can change figures, in a fixed order.
fn conditions(record: &Record, config: &Config) -> Vec<Condition> {
    let asked = &config.asked;
    let runs: Vec<_> = record.complete().filter(|run| run.config == *asked.id).collect();
    let python: BTreeSet<&str> =
        runs.iter().filter_map(|run| run.after.as_ref()).map(|seen| seen.python.as_str()).collect();
    let forwarded: BTreeSet<&str> =
        runs.iter().map(|run| if run.forwarded { "by the engine" } else { "direct" }).collect();
    let variables = config.variables.as_ref().unwrap_or(&asked.env);
    let load = &record.load;
    let mut all = Vec::new();
    let mut add = |aspect, name, value: Option<String>| all.push(Condition { aspect, name, value });
    // Without a complete run, the version of the interpreter is unknown.
    add(Aspect::Interpreter, "version of the interpreter", (!python.is_empty()).then(|| joined(python)));
    add(Aspect::Interpreter, "ABI", config.abi.clone());
    let plain = || config.interpreter.clone().unwrap_or_else(|| "plain".to_owned());
    add(Aspect::Build, "interpreter build", Some(if config.optimized { "PGO, LTO".to_owned() } else { plain() }));
    // Without the GIL, it makes no difference whether a variable keeps it off.
    let gil = if asked.gil == GilState::On { GilState::On } else { GilState::Off };
    add(Aspect::Gil, "GIL state", Some(gil.to_string()));
    add(
        Aspect::Packages,
        "package set",
        Some(joined(config.packages.iter().map(|(id, version)| format!("{id} {version}")))),
    );
    add(Aspect::Packages, "set of packages built with `--quick`", config.quick.clone());
    add(Aspect::Image, "image", Some(config.digest.clone()));
    let set = variables.iter().filter(|(name, _)| *name != GIL_VARIABLE);
    add(Aspect::Variables, "environment", Some(joined(set.map(|(name, value)| format!("{name}={value}")))));
    // Only says whether the variables of the image are among them.
    add(Aspect::Variables, "environment of the image", config.variables.as_ref().map(|_| String::new()));
    add(Aspect::Stages, "stage metrics setting", Some(if asked.stages { "on" } else { "off" }.to_owned()));
    add(Aspect::Load, "client mix", Some(joined(&asked.clients)));
    add(Aspect::Load, "number of users", Some(load.vus.to_string()));
    add(Aspect::Load, "duration", Some(format!("{} s", load.seconds)));
    let slice = load.slice.map_or("one after the other".to_owned(), |slice| format!("in slices of {slice} s"));
    add(Aspect::Load, "order of runs", Some(slice));
    add(Aspect::Load, "request rate", Some(format!("{}/s", load.rate)));
    add(Aspect::Load, "number of records", Some(load.records.to_string()));
    add(Aspect::Load, "list of scenarios", Some(joined(&load.scenarios)));
    let scripts = record.scripts.iter().map(|(name, digest)| format!("{name} {}", &digest[..digest.len().min(12)]));
    add(Aspect::Load, "set of load scripts", Some(joined(scripts)));
    let server = &record.server;
    let image = server.image.iter().map(|id| format!(" {id}")).collect::<String>();
    add(Aspect::Load, "server", Some(format!("{}{image}", server.kind)));
    add(Aspect::Load, "load generator", Some(record.k6.digest.clone()));
    add(Aspect::Load, "machine", Some(record.machine.clone()));
    let pinned = record.pinned.as_ref().map_or("shared".to_owned(), |pinned| pinned.join("; "));
    add(Aspect::Load, "assignment of processors", Some(pinned));
    add(Aspect::Load, "path of requests", (!forwarded.is_empty()).then(|| joined(forwarded)));
    all
}

fn joined(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
