//! `cargo xtask init`: writes the files of a new project. Existing files stay as they are.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use base::{UsageError, program, ui};

const MATRIX: &str = include_str!("init/matrix.yaml");

/// File with the schema that the first line of [`MATRIX`] names.
const SCHEMA_FILE: &str = "matrix.schema.json";

const WORKFLOWS: [(&str, &str); 3] = [
    (".github/workflows/build.yml", include_str!("init/build.yml")),
    (".github/workflows/outdated.yml", include_str!("init/outdated.yml")),
    (".github/workflows/release.yml", include_str!("init/release.yml")),
];

/// Folders that commands write to.
const IGNORED: [&str; 3] = ["/wheels/", "/test-results/", "/bench-results/"];

/// Stands in [`WORKFLOWS`] for the repository of this tool and the version to use.
const TOOL: (&str, &str) = ("OWNER/REPO", "@REF");

/// Describes the project and where its workflows find this tool.
#[derive(Debug, Args)]
pub struct Options {
    /// Repository name of the images, in lower case; default: the name of this folder
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Repository of this tool on GitHub with a commit or tag, which the workflows call; default: where the program was
    /// installed from with `cargo install --git`
    #[arg(long, value_name = "OWNER/REPO@REF")]
    tool: Option<Tool>,
    /// Write only `matrix.schema.json`, also over the one of another version of this program
    #[arg(long, conflicts_with_all = ["name", "tool"])]
    schema: bool,
}

/// Repository of this tool on GitHub, and the commit or tag to use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tool {
    repository: String,
    reference: String,
}

impl std::str::FromStr for Tool {
    type Err = String;

    fn from_str(text: &str) -> Result<Tool, String> {
        let word =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let parts = text.split_once('@').and_then(|(name, reference)| Some((name.split_once('/')?, reference)));
        match parts {
            Some(((owner, repository), reference)) if [owner, repository, reference].into_iter().all(word) => {
                Ok(Tool { repository: format!("{owner}/{repository}"), reference: reference.to_owned() })
            }
            _ => Err(format!("`{text}` is not of the form `owner/repository@commit`")),
        }
    }
}

/// Writes the files to the current folder, and prints what was written and what to do next.
pub fn run(options: &Options) -> Result<()> {
    let folder = std::env::current_dir().context("cannot determine the current folder")?;
    let schema = program::with_command(matrix::SCHEMA);
    if options.schema {
        build::cache::write(&folder.join(SCHEMA_FILE), schema.as_bytes())?;
        return ui::print_result(&format!("wrote   {SCHEMA_FILE}\n"));
    }
    let name = match &options.name {
        Some(name) => name.clone(),
        None => image_name(&folder.file_name().unwrap_or_default().to_string_lossy()),
    };
    let text = MATRIX.replace("NAME:", &format!("{name}:")).replace("name: NAME", &format!("name: {name}"));
    matrix::Matrix::parse(&text, "matrix.yaml").map_err(|error| anyhow!(UsageError(format!("{error:#}"))))?;
    let mut said = vec![create(&folder, "matrix.yaml", &text)?, create(&folder, SCHEMA_FILE, &schema)?];
    said.push(ignore(&folder)?);
    let tool = options.tool.clone().or_else(installed_from);
    if let Some(tool) = &tool {
        for (path, text) in WORKFLOWS {
            let text = text.replace(TOOL.0, &tool.repository).replace(TOOL.1, &format!("@{}", tool.reference));
            said.push(create(&folder, path, &text)?);
        }
    }
    let mut said: String = said.concat();
    if tool.is_none() {
        said.push_str(
            "no workflows: this program was not installed with `cargo install --git`. With\n  \
             `cargo xtask init --tool OWNER/REPO@COMMIT`, the repository of this tool on\n  GitHub, it writes them.\n",
        );
    }
    said.push_str(
        "Next: `cargo xtask add NAME --image TAG --yes --quick` adds a package of the index,\n  \
         builds it, and proves an image with it; `add FOLDER` does so for your own.\n",
    );
    ui::print_result(&said)
}

/// Writes a file unless it exists. Returns a line that says which of both.
fn create(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    match File::options().write(true).create_new(true).open(&path) {
        Ok(mut file) => {
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            if let Err(error) = written {
                // What is half written would be kept by the next `init`.
                let _ = fs::remove_file(&path);
                return Err(error).with_context(|| format!("cannot write `{name}`"));
            }
            Ok(format!("wrote   {name}\n"))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(format!("kept    {name}, which exists\n")),
        Err(error) => Err(error).with_context(|| format!("cannot write `{name}`")),
    }
}

/// Adds missing lines to `.gitignore`.
fn ignore(folder: &Path) -> Result<String> {
    const NAME: &str = ".gitignore";
    let path = folder.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return create(folder, NAME, &lines(&IGNORED)),
        Err(error) => return Err(error).context("cannot read `.gitignore`"),
    };
    let there = |line: &&str| text.lines().any(|own| own.trim().trim_matches('/') == line.trim_matches('/'));
    let missing: Vec<&str> = IGNORED.into_iter().filter(|line| !there(line)).collect();
    if missing.is_empty() {
        return Ok(format!("kept    {NAME}, which exists\n"));
    }
    let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let mut file = File::options().append(true).open(&path).context("cannot write `.gitignore`")?;
    file.write_all(format!("{separator}{}", lines(&missing)).as_bytes()).context("cannot write `.gitignore`")?;
    Ok(format!("added   {} to {NAME}\n", missing.join(", ")))
}

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns the name of a folder as a repository name: in lower case, with `-` for other characters.
fn image_name(folder: &str) -> String {
    let name: String =
        folder.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "wheels".to_owned() } else { name.to_owned() }
}

/// Returns where Cargo has installed this program from, which it records beside the folder of its programs.
fn installed_from() -> Option<Tool> {
    let program = std::env::current_exe().ok()?;
    let record = program.parent()?.parent()?.join(".crates.toml");
    recorded(&fs::read_to_string(record).ok()?, program.file_name()?.to_str()?)
}

/// Finds the GitHub repository and the commit of a program in the text of Cargo's `.crates.toml`.
fn recorded(text: &str, program: &str) -> Option<Tool> {
    let table: toml::Table = text.parse().ok()?;
    let packages = table.get("v1")?.as_table()?;
    let has = |programs: &toml::Value| {
        programs.as_array().is_some_and(|programs| programs.iter().any(|name| name.as_str() == Some(program)))
    };
    let (package, _) = packages.iter().find(|(_, programs)| has(programs))?;
    let (_, source) = package.split_once("(git+https://github.com/")?;
    let (place, commit) = source.strip_suffix(')')?.split_once('#')?;
    let place = place.split('?').next()?;
    let repository = place.strip_suffix(".git").unwrap_or(place);
    format!("{repository}@{commit}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{IGNORED, TOOL, Tool, WORKFLOWS, create, ignore, image_name, recorded};
    use fixture::Folder;

    #[test]
    fn nothing_is_overwritten() {
        let folder = Folder::new("init");
        assert_eq!(create(&folder.0, "a/b.txt", "one").unwrap(), "wrote   a/b.txt\n");
        assert_eq!(create(&folder.0, "a/b.txt", "two").unwrap(), "kept    a/b.txt, which exists\n");
        assert_eq!(std::fs::read_to_string(folder.0.join("a/b.txt")).unwrap(), "one");
    }

    #[test]
    fn only_missing_lines_are_added_to_gitignore() {
        let folder = Folder::new("ignore");
        folder.write(".gitignore", "*.o\nwheels");
        assert_eq!(ignore(&folder.0).unwrap(), "added   /test-results/, /bench-results/ to .gitignore\n");
        let text = std::fs::read_to_string(folder.0.join(".gitignore")).unwrap();
        assert_eq!(text, "*.o\nwheels\n/test-results/\n/bench-results/\n");
        assert!(ignore(&folder.0).unwrap().starts_with("kept"));
        assert!(text.lines().filter(|line| IGNORED.contains(line)).count() == 2);
    }

    #[test]
    fn the_name_of_a_folder_becomes_a_repository_name() {
        for (folder, name) in [("My Project", "my-project"), ("_x_1.2", "x-1.2"), ("Größe", "gr--e"), ("", "wheels")]
        {
            assert_eq!(image_name(folder), name);
        }
    }

    #[test]
    fn cargo_says_where_the_program_is_from() {
        let text = |source: &str| {
            format!("[v1]\n\"xtask 0.1.0 ({source})\" = [\"wheel-matrix\"]\n\"b 1.0.0 (x)\" = [\"b\"]\n")
        };
        let tool = Tool { repository: "o/r".to_owned(), reference: "0123abc".to_owned() };
        for source in ["git+https://github.com/o/r#0123abc", "git+https://github.com/o/r.git?rev=0123#0123abc"] {
            assert_eq!(recorded(&text(source), "wheel-matrix"), Some(tool.clone()), "{source}");
        }
        for source in
            ["path+file:///home/x/r/xtask", "git+https://example.org/o/r#0123abc", "git+https://github.com/o/r"]
        {
            assert_eq!(recorded(&text(source), "wheel-matrix"), None, "{source}");
        }
        assert_eq!(recorded(&text("git+https://github.com/o/r#0123abc"), "other"), None);
        assert!("o/r".parse::<Tool>().is_err() && "o/r@a b".parse::<Tool>().is_err());
    }

    /// Dependabot updates the actions of this project's own workflows, but not those of the templates.
    #[test]
    fn the_templates_use_the_same_actions_as_the_workflows_of_this_project() {
        let folder = fixture::project().join(".github/workflows");
        let own: String = ["ci.yml", "packages.yml", "release.yml"]
            .map(|name| std::fs::read_to_string(folder.join(name)).unwrap())
            .concat();
        for (path, text) in WORKFLOWS {
            for line in text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")) {
                let (name, reference) = line.split_once('@').unwrap();
                if let Some(file) = name.strip_prefix(TOOL.0) {
                    assert!(reference == "REF" && fixture::project().join(&file[1..]).exists(), "{path}: {line}");
                } else {
                    assert!(own.contains(&format!("uses: {line}\n")), "{path}: {line}");
                }
            }
        }
    }
}
