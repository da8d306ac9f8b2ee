//! Report section about what to do now: the way to free-threaded Python, each step with the command that does it.

use std::collections::BTreeSet;

use super::page::{Block, Section, Step};
use super::view::View;
use crate::comparable::{Comparison, Kind, comparisons};
use crate::record::Config;
use crate::verdict::{PROCESSOR_TIME, RATE};
use matrix::GilState;

impl View<'_> {
    /// Returns the section; `None` if no configuration of the record has the GIL off.
    pub fn migration(&self) -> Option<Section> {
        let configs = &self.record.configs;
        let free: Vec<&Config> = configs.iter().filter(|config| config.asked.gil != GilState::On).collect();
        let images = distinct(free.iter().map(|config| &*config.asked.image));
        let (first, _) = free.split_first()?;
        let abi = first.abi.as_ref().map_or_else(String::new, |abi| format!(" --abi {abi}"));
        let mut steps = vec![step(
            "Ask which of your requirements have wheels for free-threaded Python, and which switch the GIL on.",
            [format!("cargo xtask check requirements.txt{abi}")],
        )];
        let (missing, complete) = self.missing(&images);
        if !missing.is_empty() {
            let commands = missing.iter().map(|name| format!("cargo xtask add {name} --image {}-{name}", images[0]));
            steps.push(step(
                &format!("Add what no free-threaded image here has: {}.", quoted(missing.iter())),
                commands,
            ));
        } else if complete.is_none() {
            let command = format!("cargo xtask add NAME --image {}-NAME", images[0]);
            steps.push(step("Add each package that has no wheel. `NAME` is its name on the package index.", [command]));
        }
        let tags = images.join(" ");
        steps.push(step("Build the images.", [format!("cargo xtask image {tags}")]));
        steps.push(step(
            &format!("Prove that the GIL is off in them.{}", forced(&free)),
            [format!("cargo xtask verify {tags}")],
        ));
        steps.push(step(
            "Call all modules from many threads, and look for crashes and differing results. An image with \
             `interpreter: tsan` also reports data races.",
            images.iter().map(|tag| format!("cargo xtask test {tag} --suite imports --suite driven")),
        ));
        steps.push(step("Measure your own service, with and without the GIL.", [self.measure()]));
        let mut blocks = vec![Block::Text(self.worth()), Block::Steps(steps)];
        blocks.extend(complete.map(Block::Text));
        Some(Section::new("What to do now", blocks))
    }

    /// Says how often a gain without the GIL was shown.
    fn worth(&self) -> String {
        let made = comparisons(self.record).made;
        let (mut all, mut better, mut worse) = (0, 0, 0);
        for Comparison { base, other, .. } in made.iter().filter(|one| drops_the_gil(one)) {
            let main =
                self.verdicts(base, other).into_iter().filter(|(name, _)| name == PROCESSOR_TIME || name == RATE);
            let shown: Vec<bool> = main
                .filter_map(|(_, verdict)| verdict.filter(|found| found.shown()).map(|found| found.worse()))
                .collect();
            all += 1;
            better += usize::from(shown.contains(&false));
            worse += usize::from(shown.contains(&true));
        }
        match all {
            0 => "Nothing here compares the same service with and without the GIL, so nothing here says what your service \
                  gains. These steps find out."
                .to_owned(),
            _ => format!(
                "{} here with and without the GIL: {better} showed a gain in requests per second or processor time, {worse} \
                 a loss. Your service may differ; these steps find out.",
                if all == 1 { "One comparison was made".to_owned() } else { format!("{all} comparisons were made") }
            ),
        }
    }

    /// Returns the packages that only images with the GIL have. If there are none, also says that this step is left
    /// out.
    fn missing(&self, free: &[&str]) -> (Vec<&str>, Option<String>) {
        let has = |config: &&Config| free.contains(&&*config.asked.image);
        let (with, without): (Vec<&Config>, Vec<&Config>) = self.record.configs.iter().partition(has);
        let [ready, others] = [with, without].map(|configs| -> BTreeSet<&str> {
            configs.into_iter().flat_map(|config| config.packages.keys()).map(String::as_str).collect()
        });
        let missing: Vec<&str> = others.difference(&ready).copied().collect();
        let left_out = (!others.is_empty() && missing.is_empty()).then(|| {
            "There is no step that adds packages: each package of the images with the GIL is in a free-threaded image \
             already. `cargo xtask add NAME` adds others."
                .to_owned()
        });
        (missing, left_out)
    }

    /// Returns the command that measures a service, with the configurations that show the GIL best.
    fn measure(&self) -> String {
        let made = comparisons(self.record).made;
        let of_kind = |kind| made.iter().find(|one| drops_the_gil(one) && one.difference.kind == kind);
        let configs = of_kind(Kind::Gil)
            .or_else(|| of_kind(Kind::Interpreter))
            .map_or_else(String::new, |one| format!(" --config {},{}", one.base.asked.id, one.other.asked.id));
        format!("cargo xtask bench serve{configs} --paired --precision 3%")
    }
}

/// Returns whether only the second configuration of a comparison has the GIL off.
fn drops_the_gil(one: &Comparison) -> bool {
    one.base.asked.gil == GilState::On && one.other.asked.gil != GilState::On
}

/// Says in which images the GIL is off only by a variable.
fn forced(free: &[&Config]) -> String {
    let forced = free.iter().filter(|config| config.asked.gil == GilState::ForcedOff);
    let images = distinct(forced.map(|config| &*config.asked.image));
    match images.is_empty() {
        true => String::new(),
        false => format!(
            " In {} it is off only because of `PYTHON_GIL=0`: a module there does not declare that it runs without it.",
            quoted(images.iter())
        ),
    }
}

fn step(text: &str, commands: impl IntoIterator<Item = String>) -> Step {
    Step { text: text.to_owned(), commands: commands.into_iter().collect() }
}

fn quoted<'n>(names: impl Iterator<Item = &'n &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Returns each name once, in the order of the record.
fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut all = Vec::new();
    names.for_each(|name| {
        if !all.contains(&name) {
            all.push(name);
        }
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;
    use crate::fixture;
    use crate::record::Record;
    use crate::report::page::Page;

    fn steps(name: &str, change: impl FnOnce(&mut Record)) -> Option<String> {
        let folder = fixture::folder(name, 1, 1.0);
        let mut record = Record::read(&folder.0).unwrap();
        change(&mut record);
        let figures = Figures::of(&record, &folder.0).unwrap();
        let sections = vec![View { record: &record, figures: &figures }.migration()?];
        Some(Page { title: name.to_owned(), lead: String::new(), banner: Vec::new(), sections }.markdown())
    }

    /// A test of the program parses each command of this snapshot.
    #[test]
    fn each_step_has_a_command() {
        let missing = steps("missing", |record| {
            record.configs[0].packages.insert("acme".to_owned(), "1.0".to_owned());
            record.configs[1].asked.gil = GilState::ForcedOff;
        });
        let nothing_known = steps("nothing-known", |record| drop(record.configs.remove(0)));
        let complete = steps("complete", |_| {});
        insta::assert_snapshot!("steps", [missing, nothing_known, complete].map(Option::unwrap).join("\n"));
    }

    #[test]
    fn steps_that_do_not_apply_are_left_out() {
        let complete = steps("same", |_| {}).unwrap();
        assert!(!complete.contains("xtask add acme"), "{complete}");
        assert!(complete.contains("There is no step that adds packages"), "{complete}");
        // Without a configuration with the GIL, it is unknown what is missing.
        let free = steps("free", |record| drop(record.configs.remove(0))).unwrap();
        assert!(free.contains("cargo xtask add NAME --image") && free.contains("Nothing here compares"), "{free}");
        assert!(free.contains("cargo xtask bench serve --paired"), "{free}");
        assert_eq!(steps("none", |record| record.configs.truncate(1)), None, "all have the GIL");
    }
}
