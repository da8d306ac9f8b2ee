//! Reports of made-up results: as text, as one file, incomplete, and one held against another.

use super::*;
use crate::fixture;

#[test]
fn a_report_is_drawn_from_its_folder_alone() {
    let there = fixture::folder("drawn", 1, 1.0);
    let moved = fixture::Folder(there.0.with_extension("moved"));
    fs::rename(&there.0, &moved.0).unwrap();
    draw(&moved.0).unwrap();
    let (markdown, html) = (read(&moved.0, "report.md"), read(&moved.0, "report.html"));
    insta::assert_snapshot!("markdown", markdown);
    insta::assert_snapshot!("html", html);
    for chart in ["p95-0", "distribution", "throughput", "stages-0", "stages-1", "time"] {
        assert!(read(&moved.0, &format!("charts/{chart}.svg")).starts_with("<svg "), "{chart}");
        assert!(markdown.contains(&format!("(charts/{chart}.svg)")), "{chart}");
    }
    assert_eq!(html.matches("<svg ").count(), html.matches("</svg>").count());
    for outside in ["src=", "href=", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside} in the report");
    }
    draw(&moved.0).unwrap();
    assert_eq!(read(&moved.0, "report.html"), html, "the same again");
}

#[test]
fn the_stand_in_stands_above_everything() {
    let folder = fixture::folder("standin", 1, 1.0);
    draw(&folder.0).unwrap();
    assert!(read(&folder.0, "report.html").contains("<div class=\"banner\" role=\"note\">STAND-IN SERVER"));
    assert!(read(&folder.0, "report.md").lines().nth(2).unwrap().contains("STAND-IN SERVER"));
}

#[test]
fn more_errors_than_successes_are_in_the_first_line() {
    let folder = fixture::folder("errors", 1, 1.0);
    assert_eq!(draw(&folder.0).unwrap(), None);
    let mut record = Record::read(&folder.0).unwrap();
    for phase in record.runs.iter_mut().filter(|run| run.config == "311-stages").flat_map(|run| &mut run.phases) {
        let path = folder.0.join(&phase.samples);
        let mut requests = crate::samples::read(&path, &phase.sha256).unwrap();
        requests.iter_mut().skip(2).for_each(|request| request.status = 503);
        phase.sha256 = crate::samples::write(&path, &requests).unwrap();
    }
    record.write(&folder.0).unwrap();
    let failed = draw(&folder.0).unwrap().unwrap();
    assert!(failed.starts_with("more errors than successes in 311-stages, async, single ("), "{failed}");
    assert!(!failed.contains("314t"), "{failed}");
    let (markdown, html) = (read(&folder.0, "report.md"), read(&folder.0, "report.html"));
    assert!(markdown.lines().next().unwrap().contains("More errors than successes"), "{markdown}");
    assert!(html.contains("<title>More errors than successes") && html.contains("ERRORS: more errors"), "{html}");
}

#[test]
fn what_was_not_completed_gives_no_number() {
    let folder = fixture::folder("incomplete", 1, 1.0);
    let mut record = Record::read(&folder.0).unwrap();
    record.runs.truncate(4);
    for run in &mut record.runs {
        run.failed = Some("the application exited with code 137".to_owned());
    }
    record.ended = Some("interrupted".to_owned());
    record.write(&folder.0).unwrap();
    draw(&folder.0).unwrap();
    let markdown = read(&folder.0, "report.md");
    let banner = "INCOMPLETE: 0 of 10 runs are complete. it ended early: interrupted; run 01-311-stages is not counted";
    assert!(markdown.contains(banner), "{markdown}");
    assert!(markdown.contains("exited with code 137") && !markdown.contains("charts/"), "{markdown}");
    // Of what was not measured not even a zero.
    for section in ["## Latency", "## Throughput", "## What gets faster", "## Where the time goes", "## Requests that"]
    {
        assert!(!markdown.contains(section), "{section}: {markdown}");
    }
}

#[test]
fn the_same_image_with_other_variables_is_compared_with_itself() {
    let folder = fixture::folder("alike", 1, 1.0);
    let mut record = Record::read(&folder.0).unwrap();
    let mut again = record.configs[1].clone();
    again.asked.title = "once more".to_owned();
    record.configs.push(again);
    let told = |record: &Record| {
        record.write(&folder.0).unwrap();
        draw(&folder.0).unwrap();
        let report = read(&folder.0, "report.md");
        report.split("## Against 3.14t").nth(1).map(|rest| rest.split("## ").next().unwrap().to_owned())
    };
    let section = told(&record).unwrap();
    assert!(section.contains("| once more | nothing | async, p95 of single | 0.0 %"), "{section}");
    record.configs[2].digest.push('0');
    assert!(told(&record).unwrap().contains("| once more | image | async, p95 of single |"));
    let client = record.configs[1].asked.image.clone();
    record.configs[2].asked.clients.push(client);
    assert_eq!(told(&record), None);
}

#[test]
fn samples_that_have_changed_are_refused() {
    let folder = fixture::folder("changed", 1, 1.0);
    fs::write(folder.0.join("samples/01-311-stages-single.csv.gz"), b"better ones").unwrap();
    let error = format!("{:#}", draw(&folder.0).unwrap_err());
    assert!(error.contains("01-311-stages-single.csv.gz` has changed"), "{error}");
    let error = format!("{:#}", draw(Path::new("/nonexistent")).unwrap_err());
    assert!(error.contains("cargo xtask bench serve"), "{error}");
}

#[test]
fn the_same_twice_does_not_differ_and_a_slowed_one_does() {
    let (old, same, slow) =
        (fixture::folder("old", 1, 1.0), fixture::folder("same", 4, 1.0), fixture::folder("slow", 3, 1.25));
    let figures = |record: &Record, folder: &Path| Figures::of(record, folder).unwrap();
    let rows = |new: &Path| {
        let (before, after) = (Record::read(&old.0).unwrap(), Record::read(new).unwrap());
        compare::compared((&before, &figures(&before, &old.0)), (&after, &figures(&after, new)))
    };
    compare::run(&old.0, &same.0).unwrap();
    assert!(rows(&same.0).rows.iter().all(|row| !row.verdict.shown()), "of the same twice");
    let error = compare::run(&old.0, &slow.0).unwrap_err().to_string();
    assert!(error.contains("3 of 8 figures are worse, the first: 314t-stages: processor time per request"), "{error}");
    // The one that was not slowed is not among them.
    let (before, after) = (Record::read(&old.0).unwrap(), Record::read(&slow.0).unwrap());
    let rows = rows(&slow.0);
    let worse: Vec<&str> = rows.rows.iter().filter(|row| row.verdict.worse()).map(|row| row.name.as_str()).collect();
    let figures = ["processor time per request", "p95 of single, async", "p95 of stress, async"];
    assert_eq!(worse, figures.map(|figure| format!("314t-stages: {figure}")));
    assert!(compare::told(&before, &after, &rows).contains("a stand-in server: its speed says nothing"));
    // Faster is no regression.
    compare::run(&slow.0, &old.0).unwrap();
}

#[test]
fn unequal_loads_have_no_verdict() {
    let folder = fixture::folder("unequal", 1, 1.0);
    let mut record = Record::read(&folder.0).unwrap();
    let told = |record: &Record| {
        record.write(&folder.0).unwrap();
        draw(&folder.0).unwrap();
        read(&folder.0, "report.md")
    };
    let verdict = |report: &str| report.contains("**better**, p =");
    assert!(verdict(&told(&record)));
    // The same measurements, but one of the services had a second client.
    let second = record.configs[1].asked.image.clone();
    record.configs[1].asked.clients.push(second);
    let report = told(&record);
    assert!(!verdict(&report), "{report}");
    let why = "not comparable: the client mix (async against async, 314t) differs";
    // In the comparison, and above the stages.
    assert_eq!(report.matches(why).count(), 2, "{report}");
}

#[test]
fn folders_with_unequal_loads_have_no_verdict() {
    let (old, new) = (fixture::folder("six", 1, 1.0), fixture::folder("sixty", 1, 2.0));
    let mut record = Record::read(&new.0).unwrap();
    record.load.seconds = 60;
    record.write(&new.0).unwrap();
    let error = compare::run(&old.0, &new.0).unwrap_err().to_string();
    assert_eq!(error, "2 configurations cannot be compared, the first: 311-stages");
    let before = Record::read(&old.0).unwrap();
    let figures = |record: &Record, folder: &Path| Figures::of(record, folder).unwrap();
    let found = compare::compared((&before, &figures(&before, &old.0)), (&record, &figures(&record, &new.0)));
    let told = compare::told(&before, &record, &found);
    assert!(
        found.rows.is_empty() && told.contains("311-stages: not comparable: the duration (4 s against 60 s) differs")
    );
}

#[test]
fn what_has_nothing_in_common_is_not_compared() {
    let (old, new) = (fixture::folder("one", 1, 1.0), fixture::folder("other", 1, 1.0));
    let mut record = Record::read(&new.0).unwrap();
    record.runs.clear();
    record.write(&new.0).unwrap();
    let error = compare::run(&old.0, &new.0).unwrap_err().to_string();
    assert!(error.contains("no complete run of the same configuration"), "{error}");
}

/// A difference of 3 % that drift hides from runs is shown by rounds.
#[test]
fn paired_rounds_are_compared_within() {
    let folder = fixture::folder("paired", 1, 1.0);
    let mut record = Record::read(&folder.0).unwrap();
    for run in &mut record.runs {
        // The machine becomes slower from round to round, and the second configuration needs 3 % more.
        let drift = 1.0 + f64::from(run.round) / 4.0;
        let slower = if run.config == "311-stages" { 1.0 } else { 1.03 + 0.001 * f64::from(run.round % 3) };
        run.phases.iter_mut().for_each(|phase| phase.cpu = Some(0.2 * drift * slower));
    }
    let row = |record: &Record| {
        record.write(&folder.0).unwrap();
        draw(&folder.0).unwrap();
        let report = read(&folder.0, "report.md");
        report.lines().find(|line| line.contains("| processor time per request |")).unwrap().to_owned()
    };
    assert!(row(&record).contains("no difference shown"), "{}", row(&record));
    record.load.slice = Some(5);
    let found = row(&record);
    assert!(found.contains("| +3.1 % (+3.") && found.contains("**worse**, p = 0.000"), "{found}");
    // A round without one of them does not count.
    record.runs[0].failed = Some("failed".to_owned());
    assert!(row(&record).contains("+3.1 %"));
    let report = read(&folder.0, "report.md");
    assert!(report.contains("5 rounds, in each of which") && report.contains("Changes are ratios within rounds"));
}

#[test]
fn scaling_runs_are_fitted() {
    let folder = fixture::folder("scaled", 1, 1.0);
    let mut record = Record::read(&folder.0).unwrap();
    record.scale = Some(crate::record::Scale { users: vec![1, 2], cpus: vec![1], processors: vec![0, 1] });
    for run in &mut record.runs {
        run.cpus = Some(1);
        run.phases.iter_mut().zip([1, 2]).for_each(|(phase, users)| phase.users = Some(users));
    }
    let told = |record: &Record| {
        record.write(&folder.0).unwrap();
        draw(&folder.0).unwrap();
        read(&folder.0, "report.md")
    };
    let report = told(&record);
    assert!(report.contains("| 3.11 with GIL, stages on | 1 | 2 | 14.8 (14.8–14.8) |"), "{report}");
    assert!(report.contains("| 3.11 with GIL, stages on | 1 | – | too few points |"), "{report}");
    let sentence = "**3.11 with GIL, stages on** on 1 processor answers **14.8 requests per second** with one user and **14.8** with 2";
    assert!(report.contains(sentence), "{report}");
    assert!(read(&folder.0, "charts/scaling.svg").starts_with("<svg ") && !report.contains("## Latency"), "{report}");
    // With more numbers of users there is a fit.
    for run in &mut record.runs {
        let more: Vec<_> = run.phases.iter().cloned().zip([4, 8]).collect();
        run.phases.extend(more.into_iter().map(|(phase, users)| crate::record::Phase { users: Some(users), ..phase }));
    }
    let report = told(&record);
    // Throughput does not grow with the number of users.
    assert!(report.contains("| 3.11 with GIL, stages on | 1 | 14.8 (14.8–14.8) | 1 (1–1) | 0 | none |"), "{report}");
}

/// Records of versions without processor time, rounds and conditions are still drawn.
#[test]
fn old_records_say_what_was_not_recorded() {
    let folder = fixture::folder("ancient", 1, 1.0);
    let mut json: serde_json::Value = serde_json::from_str(&read(&folder.0, "manifest.json")).unwrap();
    let remove = |value: &mut serde_json::Value, keys: &[&str]| {
        keys.iter().for_each(|key| assert!(value.as_object_mut().unwrap().remove(*key).is_some(), "{key}"));
    };
    remove(&mut json, &["sequential", "scale"]);
    for config in json["configs"].as_array_mut().unwrap() {
        remove(config, &["abi", "interpreter", "quick", "variables"]);
    }
    for run in json["runs"].as_array_mut().unwrap() {
        remove(run, &["round"]);
        for phase in run["phases"].as_array_mut().unwrap() {
            remove(phase, &["cpu"]);
            remove(&mut phase["machine"], &["load"]);
        }
    }
    fs::write(folder.0.join("manifest.json"), json.to_string()).unwrap();
    draw(&folder.0).unwrap();
    let report = read(&folder.0, "report.md");
    assert!(report.contains("Processor time was not recorded.") && !report.contains("## Processor time"), "{report}");
    assert!(report.contains("so not checked: ABI, environment of the image, set of packages built"), "{report}");
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}
