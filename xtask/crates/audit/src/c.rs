//! Finds thread-safety problems in C that the GIL prevented: borrowed references, shared static variables, and
//! modules without a GIL declaration.

mod declaration;
mod lex;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::finding::{FILE_LEVEL, Found};
use crate::rules::{self, Rule};
use lex::{Kind, Token};

/// Scans a file. Code in all preprocessor branches is scanned, because the build configuration is unknown.
pub fn scan(text: &str) -> Result<Vec<Found>> {
    let mut scan = Scan { found: Vec::new(), inits: Vec::new(), declares: false, macros: BTreeMap::new() };
    scan.file(&lex::tokens(text)?)?;
    if !scan.declares {
        for (name, line, column) in std::mem::take(&mut scan.inits) {
            let (function, snippet) = (name.clone(), name);
            let rule = &rules::C_GIL_UNDECLARED;
            scan.found.push(Found { rule, line, column, function, snippet, note: String::new() });
        }
    }
    scan.found.sort_by_key(|found| (found.line, found.column));
    Ok(scan.found)
}

struct Scan<'t> {
    found: Vec<Found>,
    /// Functions that the interpreter calls to create a module.
    inits: Vec<(String, usize, usize)>,
    /// Whether the file contains a GIL declaration.
    declares: bool,
    /// Definitions of function-like macros, by name: some declare variables.
    macros: BTreeMap<String, Vec<Token<'t>>>,
}

/// Number of open brackets of each kind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Open {
    /// Braces of functions and blocks.
    blocks: usize,
    /// Braces of initialisers and types, which do not end a statement.
    inner: usize,
    parentheses: usize,
}

impl<'t> Scan<'t> {
    fn file(&mut self, all: &[Token<'t>]) -> Result<()> {
        let tokens: Vec<&Token<'t>> = all.iter().collect();
        let mut function: Option<String> = None;
        let mut open = Open::default();
        // Index of the start of the current statement.
        let mut statement = 0;
        // Open brackets at the start of each `#if`.
        let mut branches: Vec<Open> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            match token.text {
                _ if token.kind == Kind::Directive => {
                    self.directive(token, &mut branches, &mut open)?;
                    if statement == at {
                        statement = at + 1;
                    }
                }
                "{" if open.inner > 0 => open.inner += 1,
                "}" if open.inner > 0 => open.inner -= 1,
                "{" => {
                    let head = without_directives(&tokens[statement..at]);
                    let name = declaration::function_name(&head).filter(|_| open.blocks == 0);
                    if open.blocks == 0 && head.len() == 2 && head[0].text == "extern" {
                        // `extern "C" {` contains functions like a file does.
                        statement = at + 1;
                    } else if name.is_none() && (open.blocks == 0 || declaration::continues(&head)) {
                        open.inner = 1;
                    } else {
                        if let Some(name) = name {
                            self.declaration(&head, None);
                            if head.iter().any(|token| token.text == "PyMODINIT_FUNC") {
                                self.inits.push((name.to_owned(), head[0].line, head[0].column));
                            }
                            function = Some(name.to_owned());
                        }
                        open.blocks += 1;
                        open.parentheses = 0;
                        statement = at + 1;
                    }
                }
                "}" => {
                    open.blocks = open.blocks.saturating_sub(1);
                    statement = at + 1;
                }
                "(" => open.parentheses += 1,
                ")" => open.parentheses = open.parentheses.saturating_sub(1),
                ";" if open.inner == 0 && open.parentheses == 0 => {
                    self.declaration(&without_directives(&tokens[statement..at]), function.as_deref());
                    statement = at + 1;
                }
                _ => self.word(&tokens[at..], function.as_deref().unwrap_or(FILE_LEVEL)),
            }
            if open.blocks == 0 {
                function = None;
            }
        }
        if open.blocks != 0 || open.inner != 0 {
            let last = function.map_or(String::new(), |name| format!(" of `{name}`"));
            bail!("the braces{last} do not match up to the end of the file: it cannot be audited");
        }
        Ok(())
    }

    /// Resets the open brackets at each branch of an `#if`, because the braces of `#if A` `if (x) {` `#else` `{`
    /// `#endif` would count twice.
    fn directive(&mut self, token: &Token<'t>, branches: &mut Vec<Open>, open: &mut Open) -> Result<()> {
        let line = token.text.trim_start_matches('#').trim_start();
        if line.starts_with("if") {
            branches.push(*open);
        } else if line.starts_with("el") {
            *open = branches.last().copied().unwrap_or(*open);
        } else if line.starts_with("endif") {
            branches.pop();
        } else if let Some(rest) = line.strip_prefix("define") {
            // The body of a macro is code wherever the macro is used.
            let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let text = rest.trim_start().strip_prefix(name.as_str()).unwrap_or_default();
            let body = lex::tokens(text).with_context(|| format!("in the macro `{name}`, line {}", token.line))?;
            let place = format!("define {name}");
            let here = |inner: Token<'t>| Token { line: token.line + inner.line - 1, column: 1, ..inner };
            let body: Vec<Token> = body.into_iter().map(here).collect();
            let words: Vec<&Token> = body.iter().collect();
            for at in 0..words.len() {
                self.word(&words[at..], &place);
            }
            if text.starts_with('(') {
                self.macros.insert(name, body);
            }
        }
        Ok(())
    }

    /// Checks a name and the tokens after it.
    fn word(&mut self, tokens: &[&Token], function: &str) {
        let Some(token) = tokens.first().filter(|token| token.kind == Kind::Name) else { return };
        let called = tokens.get(1).is_some_and(|next| next.text == "(");
        match token.text {
            "PyModule_Create" | "PyModule_Create2" if called => {
                let note = format!("`{}`", token.text);
                self.found.push(found_at(token, &rules::C_SINGLE_PHASE, function, call(tokens), note));
            }
            "PyModuleDef_Init" if called => {
                self.found.push(found_at(token, &rules::C_MULTI_PHASE, function, call(tokens), String::new()));
            }
            "Py_mod_gil" | "PyUnstable_Module_SetGIL" => {
                self.declares = true;
                let value = tokens.iter().take(12).find(|token| token.text.starts_with("Py_MOD_GIL"));
                let value = value.map_or("a value that is computed", |token| token.text);
                let snippet = format!("{} {value}", token.text);
                self.found.push(found_at(token, &rules::C_GIL_DECLARED, function, snippet, format!("`{value}`")));
            }
            name if called => {
                if let Some((_, instead)) = rules::BORROWED.iter().find(|(borrowed, _)| *borrowed == name) {
                    let note = format!("`{name}`; instead: {instead}");
                    self.found.push(found_at(token, &rules::C_BORROWED, function, call(tokens), note));
                }
            }
            _ => {}
        }
    }

    fn declaration(&mut self, tokens: &[&Token], function: Option<&str>) {
        let at_file_level = function.is_none();
        let mut tokens = tokens;
        // At file level, a macro call can declare variables and needs no semicolon.
        while let [name, open, ..] = tokens
            && at_file_level
            && open.text == "("
            && let Some(body) = self.macros.get(name.text)
        {
            let body: Vec<&Token> = body.iter().collect();
            let parts = declaration::after_parenthesis(&body).split(|token| token.text == ";");
            let count: usize = parts.map(|part| declaration::mutable_statics(part, true).len()).sum();
            for _ in 0..count {
                let note = format!("declared by the macro `{}`", name.text);
                self.found.push(found_at(name, &rules::C_STATIC, FILE_LEVEL, call(tokens), note));
            }
            tokens = declaration::after_parenthesis(&tokens[1..]);
        }
        for name in declaration::mutable_statics(tokens, at_file_level) {
            let snippet = declaration::head(tokens, name);
            let note = format!("`{}`", name.text);
            let place = function.unwrap_or(FILE_LEVEL);
            self.found.push(found_at(name, &rules::C_STATIC, place, snippet, note));
        }
    }
}

/// Returns a finding at the place of a token.
fn found_at(token: &Token, rule: &'static Rule, function: &str, snippet: String, note: String) -> Found {
    Found { rule, line: token.line, column: token.column, function: function.to_owned(), snippet, note }
}

fn without_directives<'a, 't>(tokens: &[&'a Token<'t>]) -> Vec<&'a Token<'t>> {
    tokens.iter().copied().filter(|token| token.kind != Kind::Directive).collect()
}

/// Returns the call that starts here, up to its closing parenthesis, with single spaces between tokens.
fn call(tokens: &[&Token]) -> String {
    let mut depth = 0_usize;
    let mut words = Vec::new();
    for token in tokens.iter().filter(|token| token.kind != Kind::Directive) {
        words.push(token.text);
        match token.text {
            "(" => depth += 1,
            ")" if depth <= 1 => break,
            ")" => depth -= 1,
            _ => {}
        }
    }
    words.join(" ")
}
