//! Reads which modules of a crate use which, from the tokens of its source files, and finds cycles.
//!
//! Tokens are enough, and they include the arguments of macros, which a syntax tree does not show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The code of one module without its tests.
pub struct Source {
    tokens: Vec<TokenTree>,
    /// Modules that it declares in files of their own.
    children: BTreeSet<String>,
}

impl Source {
    pub fn parse(text: &str) -> Source {
        let tokens = without_tests(text.parse().expect("not Rust"));
        let children = tokens.windows(3).filter_map(|window| match window {
            [TokenTree::Ident(word), TokenTree::Ident(name), end] if *word == "mod" && is(end, ';') => {
                Some(name.to_string())
            }
            _ => None,
        });
        Source { children: children.collect(), tokens }
    }
}

/// Reads a crate from its root file. The key is the path of a module, `a::b`; that of the root is empty.
pub fn read(root: &Path) -> BTreeMap<String, Source> {
    let mut sources = BTreeMap::new();
    read_module(root, root.parent().unwrap(), String::new(), &mut sources);
    sources
}

fn read_module(file: &Path, folder: &Path, module: String, sources: &mut BTreeMap<String, Source>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let source = Source::parse(&text);
    for child in &source.children {
        let (in_file, below) = (folder.join(format!("{child}.rs")), folder.join(child));
        let file = if in_file.is_file() { in_file } else { below.join("mod.rs") };
        read_module(&file, &below, join(&module, child), sources);
    }
    sources.insert(module, source);
}

/// Finds a cycle between modules that are next to each other in the tree of modules, and returns its path. Together
/// with the modules at the top the root of the crate is compared too.
pub fn cycle(sources: &BTreeMap<String, Source>) -> Option<String> {
    let uses: BTreeMap<&str, BTreeSet<String>> =
        sources.iter().map(|(module, source)| (module.as_str(), used_modules(module, source, sources))).collect();
    sources.iter().find_map(|(parent, source)| {
        let node = |module: &str| -> Option<String> {
            let below = if parent.is_empty() { Some(module) } else { module.strip_prefix(&format!("{parent}::")) };
            match below {
                Some(below) if !below.is_empty() => Some(join(parent, below.split("::").next()?)),
                _ => (parent.is_empty() && module.is_empty()).then(String::new),
            }
        };
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, used) in &uses {
            let Some(from) = node(module) else { continue };
            let to = used.iter().filter_map(|used| node(used)).filter(|to| *to != from);
            graph.entry(from.clone()).or_default().extend(to);
        }
        let nodes = source.children.iter().map(|child| join(parent, child));
        nodes.into_iter().find_map(|start| path_back(&graph, &start)).map(|path| {
            let names: Vec<&str> = path.iter().map(|name| if name.is_empty() { "(root)" } else { name }).collect();
            names.join(" -> ")
        })
    })
}

/// The shortest path from a node back to itself.
fn path_back(graph: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut paths = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        for next in graph.get(path.last()?).into_iter().flatten() {
            let longer = [path.as_slice(), std::slice::from_ref(next)].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next) {
                paths.push_back(longer);
            }
        }
    }
    None
}

/// The modules of the crate that a module names in its paths.
fn used_modules(module: &str, source: &Source, sources: &BTreeMap<String, Source>) -> BTreeSet<String> {
    let mut paths = Vec::new();
    let at: Vec<String> = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    find_paths(&source.tokens, &at, &source.children, &mut paths);
    // The longest part of a path that is a module; what follows is an item in it.
    let resolve = |path: &Vec<String>| {
        let mut prefixes = (0..=path.len()).rev().map(|length| path[..length].join("::"));
        prefixes.find(|prefix| sources.contains_key(prefix))
    };
    paths.iter().filter_map(resolve).filter(|used| used != module).collect()
}

/// Finds the paths that begin with `crate`, `self`, `super` or a child module; `at` is the module of the tokens.
fn find_paths(tokens: &[TokenTree], at: &[String], children: &BTreeSet<String>, paths: &mut Vec<Vec<String>>) {
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let inline = match &tokens[..index] {
                    [.., TokenTree::Ident(word), TokenTree::Ident(name)] if *word == "mod" => Some(name.to_string()),
                    _ => None,
                };
                match inline {
                    Some(name) => find_paths(&inner, &[at, &[name]].concat(), &BTreeSet::new(), paths),
                    None => find_paths(&inner, at, children, paths),
                }
            }
            TokenTree::Ident(word) if !(index > 0 && is(&tokens[index - 1], ':')) => {
                let start = match word.to_string().as_str() {
                    "crate" => Vec::new(),
                    "self" => at.to_vec(),
                    "super" => at[..at.len().saturating_sub(1)].to_vec(),
                    child if children.contains(child) => [at, &[child.to_owned()]].concat(),
                    _ => continue,
                };
                follow(&tokens[index + 1..], start, paths);
            }
            _ => {}
        }
    }
}

/// Follows a path, and each branch of a `{…}` in it.
fn follow(rest: &[TokenTree], mut path: Vec<String>, paths: &mut Vec<Vec<String>>) {
    let [first, second, next, ..] = rest else { return };
    if !is(first, ':') || !is(second, ':') {
        return;
    }
    match next {
        TokenTree::Ident(word) => {
            if *word == "super" {
                path.pop();
            } else if *word != "self" {
                path.push(word.to_string());
            }
            paths.push(path.clone());
            follow(&rest[3..], path, paths);
        }
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            for branch in inner.split(|token| is(token, ',')) {
                // As if the branch stood alone behind the path.
                let colons = [first.clone(), second.clone()];
                follow(&[&colons, branch].concat(), path.clone(), paths);
            }
        }
        _ => paths.push(path),
    }
}

/// The items of a root file that are neither `mod` nor `use`, by keyword and name.
pub fn items_other_than_modules(source: &Source) -> Vec<String> {
    let words = source.tokens.windows(2).filter_map(|window| match window {
        [TokenTree::Ident(keyword), TokenTree::Ident(name)] => Some((keyword.to_string(), name.to_string())),
        _ => None,
    });
    let keywords = ["fn", "struct", "enum", "trait", "type", "const", "static", "impl", "macro_rules", "union"];
    words
        .filter(|(keyword, _)| keywords.contains(&keyword.as_str()))
        .map(|(keyword, name)| format!("{keyword} {name}"))
        .collect()
}

/// Leaves out items behind `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let test = match &token {
            TokenTree::Group(group) => group.stream().to_string().replace(' ', "") == "cfg(test)",
            _ => false,
        };
        if !test {
            kept.push(token);
            continue;
        }
        kept.pop();
        tokens.by_ref().find(|token| match token {
            TokenTree::Group(body) => body.delimiter() == Delimiter::Brace,
            other => is(other, ';'),
        });
    }
    kept
}

fn is(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn join(parent: &str, child: &str) -> String {
    if parent.is_empty() { child.to_owned() } else { format!("{parent}::{child}") }
}
