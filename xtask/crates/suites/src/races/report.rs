//! Reads reports of ThreadSanitizer, which are written for people.
//!
//! Format: `compiler-rt/lib/tsan/rtl/tsan_report.cpp` of LLVM.

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaceReport {
    /// What was found: `data race`, `heap-use-after-free`, `lock-order-inversion (potential deadlock)`.
    pub kind: String,
    /// The stacks of the threads that met: the last access, then the earlier one.
    pub stacks: Vec<Stack>,
}

/// What a thread did, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// `Write of size 8 by thread T2`.
    pub title: String,
    /// The innermost frame comes first.
    pub frames: Vec<Frame>,
}

/// A function call of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub function: String,
    /// Source file and line, if the code has debug information.
    pub place: Option<(String, u32)>,
    /// File name of the program or library, without its folder.
    pub module: String,
}

impl RaceReport {
    /// Parses the text of a report; `None` if it is something else or incomplete.
    pub fn parse(text: &str) -> Option<RaceReport> {
        let mut lines = text.lines();
        let first = lines.find_map(|line| line.split_once("WARNING: ThreadSanitizer: "))?.1;
        let kind = first.split(" (pid=").next()?.to_owned();
        let mut stacks: Vec<Stack> = Vec::new();
        // Whether the frames that follow belong to an access, and not to the creation of a thread or the like.
        let mut inside = false;
        for line in lines {
            if let Some(frame) = line.strip_prefix("    #") {
                if let (true, Some(stack)) = (inside, stacks.last_mut()) {
                    stack.frames.extend(Frame::parse(frame));
                }
            } else if let Some(title) = line.strip_prefix("  ").filter(|title| !title.starts_with(' ')) {
                inside = is_stack(title);
                if inside {
                    stacks.push(Stack { title: without_addresses(title), frames: Vec::new() });
                }
            }
        }
        stacks.retain(|stack| !stack.frames.is_empty());
        (!stacks.is_empty()).then_some(RaceReport { kind, stacks })
    }

    /// Returns the frames at which the threads met: of each stack, the innermost whose source is known. Above it are
    /// functions of the C library that ThreadSanitizer replaces.
    pub fn tops(&self) -> impl Iterator<Item = &Frame> {
        self.stacks.iter().take(2).filter_map(Stack::top)
    }

    /// Returns the names of the functions at which the threads met, sorted: the same for both orders of the accesses.
    pub fn functions(&self) -> Vec<String> {
        let mut functions: Vec<String> = self.tops().map(|frame| frame.function.clone()).collect();
        functions.sort();
        functions
    }
}

impl Stack {
    fn top(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.place.is_some()).or(self.frames.first())
    }
}

impl Frame {
    /// Formats the function and its place.
    pub fn describe(&self) -> String {
        match &self.place {
            Some((file, line)) => format!("{} {file}:{line}", self.function),
            None => format!("{} ({})", self.function, self.module),
        }
    }

    /// Parses `3 function file.c:12:5 (module+0x123) (BuildId: 12ab)` without the `#` before it.
    fn parse(text: &str) -> Option<Frame> {
        let (_, text) = text.split_once(' ')?;
        let text = text.split(" (BuildId: ").next()?;
        let (text, module) = text.rsplit_once(" (")?;
        let module = module.trim_end_matches(')').rsplit_once("+0x")?.0;
        // Names of functions can contain spaces.
        let (function, place) = text.rsplit_once(' ')?;
        Some(Frame { function: function.to_owned(), place: parse_place(place), module: module.to_owned() })
    }
}

/// Parses `file.c:12:5` or `file.c:12`.
fn parse_place(text: &str) -> Option<(String, u32)> {
    let (before, last) = text.rsplit_once(':')?;
    let last: u32 = last.parse().ok()?;
    match before.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?))) {
        Some((file, line)) => Some((file.to_owned(), line)),
        None => Some((before.to_owned(), last)),
    }
}

/// Returns whether a stack of an access, or of a lock that is taken, follows this title.
fn is_stack(title: &str) -> bool {
    let title = title.to_ascii_lowercase();
    ["write of size", "read of size", "atomic write", "atomic read", "mutex m"]
        .iter()
        .any(|what| title.strip_prefix("previous ").unwrap_or(&title).starts_with(what))
        && !title.contains(" created ")
}

/// Removes what differs from run to run: addresses, and the mutexes that the thread holds.
fn without_addresses(title: &str) -> String {
    let title = title.trim_end_matches(':').split(" (mutexes: ").next().unwrap_or_default();
    let mut words = Vec::new();
    for word in title.split(' ') {
        if word.starts_with("0x") {
            // `at` before it.
            words.pop();
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}
