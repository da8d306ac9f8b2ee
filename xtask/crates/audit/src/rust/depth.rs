//! Limits the recursion depth of the Rust parser, so that a malicious file cannot overflow its stack.

use std::iter::Peekable;

use anyhow::{Result, bail, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream};

/// Maximum nesting depth of brackets, operators and similar tokens.
const DEEPEST: usize = 5_000;
/// Stack size in bytes that is sufficient for [`DEEPEST`] levels; the system allocates only the used part.
const STACK: usize = 512 << 20;

/// Calls `work` on a thread with a stack for code that [`check`] accepts.
pub fn with_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("the scanner panicked: this is a bug"),
        }
    })
}

/// State of one pair of brackets.
struct Level {
    tokens: Peekable<token_stream::IntoIter>,
    /// Depth of these brackets.
    around: usize,
    /// Number of tokens in the current statement or list element: each may be an operator that nests the rest.
    tokens_of_statement: usize,
    /// Whether an attribute has started, with `#` or `#!`.
    attribute: bool,
}

impl Level {
    fn new(tokens: TokenStream, around: usize) -> Level {
        Level { tokens: tokens.into_iter().peekable(), around, tokens_of_statement: 0, attribute: false }
    }
}

/// Fails if a parser that recurses for each bracket, operator or `else` could recurse too deeply. The depth may be
/// overestimated, but is never underestimated. This function does not recurse.
pub fn check(tokens: TokenStream) -> Result<()> {
    let mut levels = vec![Level::new(tokens, 0)];
    while let Some(level) = levels.last_mut() {
        let Some(token) = level.tokens.next() else {
            levels.pop();
            continue;
        };
        let depth = level.around + level.tokens_of_statement + 1;
        ensure!(
            depth <= DEEPEST,
            "line {}: brackets or operators are nested more than {DEEPEST} levels deep, which is not read",
            token.span().start().line
        );
        let attribute = std::mem::take(&mut level.attribute);
        match token {
            TokenTree::Punct(mark) if matches!(mark.as_char(), ';' | ',') => level.tokens_of_statement = 0,
            // An attribute, such as a doc comment, nests only its own content.
            TokenTree::Punct(mark) if mark.as_char() == '#' || (attribute && mark.as_char() == '!') => {
                level.attribute = true;
            }
            TokenTree::Group(group) => {
                let ends = group.delimiter() == Delimiter::Brace && level.tokens.peek().is_none_or(starts_statement);
                if ends {
                    level.tokens_of_statement = 0;
                } else if !attribute {
                    level.tokens_of_statement += 1;
                }
                levels.push(Level::new(group.stream(), depth));
            }
            TokenTree::Punct(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => level.tokens_of_statement += 1,
        }
    }
    Ok(())
}

/// Returns whether a token after a block starts a new statement instead of continuing the expression.
fn starts_statement(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(word) => *word != "else" && *word != "as",
        TokenTree::Punct(mark) => mark.as_char() == '#',
        TokenTree::Group(_) | TokenTree::Literal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns functions that nest an expression in different ways this many times.
    fn nested(times: usize) -> Vec<String> {
        let around = |open: &str, inner: &str, close: &str| {
            format!("fn f() {{ let x = {}{inner}{}; }}", open.repeat(times), close.repeat(times))
        };
        vec![
            around("(", "1", ")"),
            around("[", "1", "]"),
            around("{", "1", "}"),
            around("!", "true", ""),
            around("&", "1", ""),
            around("1 + ", "1", ""),
            around("a = ", "1", ""),
            around("", "a", ".b()"),
            around("", "a", "?"),
            around("", "1", " as u8"),
            around("if a {} else ", "{}", ""),
            around("|| ", "1", ""),
            around("return ", "1", ""),
            around("if a { ", "1", " }"),
            around("f(", "1", ")"),
            around("", "a", "[0]"),
            around("", "a", "()"),
            around("", "a", " {} + a"),
            around("{}.a(", "1", ")"),
            around("A { a: ", "1", " }"),
            format!("fn f(x: {}u8{}) {{}}", "A<".repeat(times), ">".repeat(times)),
            format!("fn f(x: {}u8) {{}}", "&".repeat(times)),
            format!("fn f({}x: u8) {{}}", "&".repeat(times)),
            format!("{}{}", "mod m { ".repeat(times), "}".repeat(times)),
            format!("#[a({}{})] fn f() {{}}", "(".repeat(times), ")".repeat(times)),
            format!("fn f() {{ m!({}{}); }}", "(".repeat(times), ")".repeat(times)),
        ]
    }

    #[test]
    fn what_is_accepted_fits_on_the_stack_and_what_does_not_is_refused() {
        for (most, least) in nested(DEEPEST - 20).into_iter().zip(nested(DEEPEST + 20)) {
            let shown = most.chars().take(40).collect::<String>();
            // Constructs that count as several levels are rejected.
            let error = super::super::scan(&most).err().map(|error| error.to_string());
            assert!(error.iter().all(|error| error.contains("levels deep")), "{shown}: {error:?}");
            let error = super::super::scan(&least).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("levels deep"), "{shown}: {error}");
        }
        // With one token per level, so that the accepted maximum is tested above.
        let accepted = nested(DEEPEST - 20).iter().filter(|text| super::super::scan(text).is_ok()).count();
        assert!(accepted > 8, "{accepted}");
        let unclosed = format!("fn f(){{{}", "(".repeat(200_000));
        assert!(super::super::scan(&unclosed).is_err());
        let closed = format!("{unclosed}{}}}", ")".repeat(200_000));
        assert!(super::super::scan(&closed).err().is_some_and(|error| error.to_string().contains("levels deep")));
    }

    #[test]
    fn ordinary_code_is_not_deep() {
        let long = [
            "//! A line of documentation.\n".repeat(DEEPEST),
            "#[test] fn f() {}\n".repeat(DEEPEST),
            format!("static A: [u8; {DEEPEST}] = [{}];", "1, ".repeat(DEEPEST)),
            format!("fn f() {{ {} }}", "a.b(); if a {} else {} a = 1; ".repeat(DEEPEST)),
            format!("enum E {{ {} }}", "/// One.\n A, ".repeat(DEEPEST)),
        ];
        for text in long {
            check(text.parse().unwrap()).unwrap();
        }
    }
}
