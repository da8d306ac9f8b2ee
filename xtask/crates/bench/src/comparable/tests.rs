//! That one difference is named, and that a second one is a reason not to compare.

use super::*;
use crate::fixture::record;

/// Returns the invented record, and copies of its second configuration to change.
fn invented(name: &str) -> (crate::fixture::Folder, Record) {
    let folder = crate::fixture::folder(name, 1, 1.0);
    let record = Record::read(&folder.0).unwrap();
    (folder, record)
}

fn words(record: &Record, change: impl Fn(&mut Config)) -> Result<String, String> {
    let mut other = record.configs[1].clone();
    change(&mut other);
    within(record, &record.configs[1], &other).map(|found| found.words)
}

#[test]
fn one_difference_is_named() {
    let (_folder, record) = invented("named");
    let word = |text: &str| record.configs[1].asked.clients.iter().find(|one| ***one == *text).unwrap().clone();
    assert_eq!(word("async").to_string(), "async");
    let named = |change: fn(&mut Config)| words(&record, change).unwrap();
    assert_eq!(named(|_| ()), "nothing");
    assert_eq!(named(|config| config.digest.push('1')), "image");
    assert_eq!(named(|config| config.asked.stages = false), "stage metrics setting (on → off)");
    assert_eq!(named(|config| config.asked.gil = matrix::GilState::On), "GIL state (off → on)");
    assert_eq!(named(|config| config.asked.gil = matrix::GilState::ForcedOff), "nothing");
    let variable = |config: &mut Config| {
        config.variables.as_mut().unwrap().insert("THREADS".to_owned(), "4".to_owned());
    };
    assert_eq!(words(&record, variable).unwrap(), "environment (none → THREADS=4)");
    // The variable that sets the GIL state is compared as that state.
    let gil = |config: &mut Config| {
        config.variables.as_mut().unwrap().insert("PYTHON_GIL".to_owned(), "1".to_owned());
        config.asked.gil = matrix::GilState::On;
    };
    assert_eq!(words(&record, gil).unwrap(), "GIL state (off → on)");
    let package = |config: &mut Config| {
        config.packages.insert("a-client".to_owned(), "2".to_owned());
        config.digest.push('1');
    };
    assert_eq!(words(&record, package).unwrap(), "package set (a-client 1.2.3 → a-client 2)");
    let found = within(&record, &record.configs[0], &record.configs[1]).unwrap();
    assert_eq!(found.kind, Kind::Interpreter);
    assert_eq!(found.words, "ABI (cp311 → cp314t), GIL state (on → off)");
}

#[test]
fn two_differences_are_refused() {
    let (_folder, record) = invented("two");
    let refused = |change: &dyn Fn(&mut Config)| words(&record, change).unwrap_err();
    let second = record.configs[0].asked.image.clone();
    let clients = |config: &mut Config| config.asked.clients.push(second.clone());
    assert_eq!(refused(&clients), "not comparable: the client mix (async against async, 311) differs");
    // Stage metrics on one client against none on two.
    let both = |config: &mut Config| {
        config.asked.stages = false;
        clients(config);
    };
    assert_eq!(refused(&both), "not comparable: the client mix (async against async, 311) differs");
    let build = |config: &mut Config| {
        config.abi = Some("cp314".to_owned());
        config.optimized = false;
        config.interpreter = Some("plain".to_owned());
        config.packages.remove("a-client");
    };
    assert_eq!(
        refused(&build),
        "not comparable: the interpreter build (PGO, LTO against plain) and the package set (a-client 1.2.3 against \
         none) differ"
    );
    let quick = |config: &mut Config| {
        config.quick = Some("a-client".to_owned());
        config.asked.stages = false;
    };
    assert!(refused(&quick).starts_with("not comparable: the "), "{}", refused(&quick));
}

#[test]
fn comparisons_are_those_with_one_difference() {
    let (_folder, mut record) = invented("pairs");
    let second = record.configs[0].asked.image.clone();
    let mut add = |id: &str, change: &dyn Fn(&mut Config)| {
        let mut config = record.configs[1].clone();
        config.asked.title = id.to_owned();
        change(&mut config);
        record.configs.push(config);
    };
    add("off", &|config| config.asked.stages = false);
    add("two", &|config| config.asked.clients.push(second.clone()));
    let found = comparisons(&record);
    let made: Vec<(&str, Kind)> =
        found.made.iter().map(|one| (one.other.asked.title.as_str(), one.difference.kind)).collect();
    assert_eq!(made, [("3.14t, acme-py only, stages on", Kind::Interpreter), ("off", Kind::Stages)]);
    let refused: Vec<&str> = found.refused.iter().map(|(config, _)| config.asked.title.as_str()).collect();
    assert_eq!(refused, ["off", "two"]);
}

#[test]
fn what_an_old_record_lacks_is_named_as_unknown() {
    let (_folder, mut record) = invented("unknown");
    for config in &mut record.configs {
        (config.abi, config.interpreter, config.quick, config.variables) = (None, None, None, None);
    }
    let found = within(&record, &record.configs[0], &record.configs[1]).unwrap();
    assert_eq!((found.kind, found.words.as_str()), (Kind::Interpreter, "GIL state (on → off), image"));
    assert_eq!(found.unknown, ["ABI", "set of packages built with `--quick`", "environment of the image"]);
}

#[test]
fn between_records_only_the_image_may_differ() {
    let (_one, before) = invented("before");
    let other = crate::fixture::folder("after", 2, 1.0);
    let mut after = record(&other.0, 2, 1.0);
    after.configs[0].packages.insert("a-client".to_owned(), "2".to_owned());
    after.configs[0].digest.push('1');
    let compare = |after: &Record| between((&before, &before.configs[0]), (after, &after.configs[0]));
    assert_eq!(compare(&after).unwrap().words, "package set (a-client 1.2.3 → a-client 2)");
    type Change = fn(&mut Record);
    let changes: [(Change, &str); 7] = [
        (|record| record.load.vus = 20, "the number of users (10 against 20) differs"),
        (|record| record.load.records = 1, "the number of records (200 against 1) differs"),
        (|record| record.machine.push('!'), "the machine ("),
        (|record| record.server.kind.push('!'), "the server ("),
        (|record| record.configs[0].asked.stages = false, "the stage metrics setting (on against off) differs"),
        (|record| record.load.scenarios.truncate(1), "the list of scenarios (single, stress against single) differs"),
        (|record| record.runs.iter_mut().for_each(|run| run.forwarded = true), "the path of requests ("),
    ];
    for (change, why) in changes {
        let mut changed = after.clone();
        change(&mut changed);
        let error = compare(&changed).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
