//! Finds the line of a program's output that says why the program failed.

/// Maximum number of characters shown of a line.
pub const WIDTH: usize = 160;

/// Prefixes of lines that report only that something failed, without a cause.
const EMPTY: [&str; 18] = [
    "$ ",
    "make: ***",
    "make[",
    "ninja: build stopped",
    "compilation terminated",
    "collect2: error",
    "error: aborting due to",
    "error: could not compile",
    "error: command ",
    "error: `cargo ",
    "error: Failed to build",
    "error: subprocess-exited-with-error",
    "error: metadata-generation-failed",
    "ERROR: Failed building wheel",
    "ERROR: Failed to build",
    "Caused by:",
    // uv
    "cause: The build backend returned an error",
    "cause: Call to `",
];

/// Substrings by which compilers and installers mark an error message.
const SIGNS: [&str; 6] = ["error:", "error[", "Error:", "ERROR:", "fatal:", "E: "];

/// Returns the line of a program's output that explains best why it failed: the last line that is marked as an error
/// and does not start with one of [`EMPTY`], otherwise the last line that does not.
pub fn find<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let raw: Vec<&str> = lines.collect();
    if let Some(cause) = of_build_script(&raw) {
        return Some(shortened(&cause, 2 * WIDTH));
    }
    let lines: Vec<&str> = raw.into_iter().map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = |line: &&&str| !EMPTY.iter().any(|start| line.starts_with(start));
    let marked = |line: &&&str| is_marked(line);
    let found = lines.iter().rev().filter(telling).find(marked).or_else(|| lines.iter().rev().find(telling))?;
    Some(shortened(found, 2 * WIDTH))
}

/// Returns whether a compiler or installer has marked a line as an error message.
pub fn is_marked(line: &str) -> bool {
    SIGNS.iter().any(|sign| line.contains(sign))
}

/// Returns the cause of a failed build script of Cargo, whose standard error Cargo prints below its own message, indented.
fn of_build_script(lines: &[&str]) -> Option<String> {
    let start = "error: failed to run custom build command for `";
    let (at, rest) = lines.iter().enumerate().rev().find_map(|(at, line)| Some((at, line.strip_prefix(start)?)))?;
    let name = rest.split([' ', '`']).next()?;
    let printed: Vec<&str> =
        lines[at..].iter().skip_while(|line| line.trim() != "--- stderr").skip(1).copied().collect();
    let printed = printed.into_iter().take_while(|line| line.starts_with(' ') || line.is_empty()).map(str::trim);
    let printed: Vec<&str> = printed.filter(|line| !line.is_empty() && !line.starts_with("note: ")).collect();
    let panicked = printed.iter().position(|line| line.contains("panicked at"));
    let line = panicked.and_then(|at| printed.get(at + 1)).or(printed.last())?;
    Some(format!("the build script of `{name}` failed: {line}"))
}

/// Truncates a line to `most` characters.
pub fn shortened(line: &str, most: usize) -> String {
    match line.char_indices().nth(most) {
        Some((cut, _)) => format!("{} …", &line[..cut]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_message_is_the_cause() {
        for (output, expected) in [
            ("Reading package lists...\nE: Unable to locate package nopkg\n", "E: Unable to locate package nopkg"),
            (
                "a.c:1:10: fatal error: yaml.h: No such file or directory\ncompilation terminated.\n\
                 error: command '/usr/bin/gcc' failed with exit code 1\n",
                "a.c:1:10: fatal error: yaml.h: No such file or directory",
            ),
            (
                "error[E0425]: cannot find value `x` in this scope\n  |\nerror: aborting due to 1 previous error\n\
                 error: could not compile `foo` (lib) due to 1 previous error\n",
                "error[E0425]: cannot find value `x` in this scope",
            ),
            (
                "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n",
                "ModuleNotFoundError: No module named 'x'",
            ),
            (
                "cc -c a.c\nld: cannot find -lyaml: no such file\nmake: *** [Makefile:3: all] Error 1\n",
                "ld: cannot find -lyaml: no such file",
            ),
            (
                "error: linker `cc` not found\nerror: could not compile `a` (lib) due to 1 previous error\n\
                 error: `cargo rustc --lib` failed with code 101\nerror: Failed to build `/tmp/build/src`\n\
                 cause: The build backend returned an error\n",
                "error: linker `cc` not found",
            ),
            (
                "error: failed to run custom build command for `demo v1.0 (/tmp/src)`\n\nCaused by:\n\
                 \x20 process didn't exit successfully: `/target/build-script-build` (exit status: 1)\n\
                 \x20 --- stderr\n  demo v1.0 does not support free-threaded Python\nwarning: build failed, waiting\n",
                "the build script of `demo` failed: demo v1.0 does not support free-threaded Python",
            ),
            (
                "error: failed to run custom build command for `ssl-sys v1.0`\n  --- stderr\n\n\
                 \x20 thread 'main' panicked at build.rs:1:1:\n  no OpenSSL\n  note: run with `RUST_BACKTRACE=1`\n",
                "the build script of `ssl-sys` failed: no OpenSSL",
            ),
            (
                "    error: downloading 'https://example.org/a.tar.gz' failed\n*** CMake configuration failed\n\
                 error: Failed to build `/tmp/build/src`\n  cause: The build backend returned an error\n\
                 \x20 cause: Call to `scikit_build_core.build.build_wheel` failed (exit status: 1)\n",
                "error: downloading 'https://example.org/a.tar.gz' failed",
            ),
            ("before\nno line is marked\n\n", "no line is marked"),
        ] {
            assert_eq!(find(output.lines()).as_deref(), Some(expected));
        }
        assert_eq!(find(["$ true", ""].into_iter()), None);
        assert!(find(["x".repeat(5000).as_str()].into_iter()).is_some_and(|line| line.len() < 400));
    }
}
