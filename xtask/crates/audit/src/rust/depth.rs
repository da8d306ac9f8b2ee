//! Limits how deep a parser of Rust may recurse, so that a hostile file cannot overflow its stack.

use std::iter::Peekable;

use anyhow::{Result, bail, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream};

/// Most levels of brackets, operators and the like around a token.
const DEEPEST: usize = 5_000;
/// Bytes of a stack that is large enough for [`DEEPEST`] levels; the system provides what is used of it.
const STACK: usize = 512 << 20;

/// Calls `work` on a thread with a stack for code that [`check`] accepts.
pub fn with_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("the scanner panicked, see above: this is a bug"),
        }
    })
}

/// The tokens inside one pair of brackets.
struct Level {
    tokens: Peekable<token_stream::IntoIter>,
    /// Levels around these brackets.
    around: usize,
    /// Tokens of the statement or list element so far: each may be an operator that nests the rest.
    tokens_of_statement: usize,
    /// Whether an attribute has begun, with `#` or `#!`.
    attribute: bool,
}

impl Level {
    fn new(tokens: TokenStream, around: usize) -> Level {
        Level { tokens: tokens.into_iter().peekable(), around, tokens_of_statement: 0, attribute: false }
    }
}

/// An error if a parser that recurses for each bracket, operator or `else` might recurse too deep. It
/// may count code as deeper than it is, but never as less deep. It does not recurse itself.
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
            // An attribute, such as a line of documentation, nests nothing but what is inside it.
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

/// Whether a token after a block begins something new, instead of going on with the expression.
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

    /// A function of an expression, nested in a way of its own that many times.
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
            // One that counts for several levels each time is refused.
            let error = super::super::scan(&most).err().map(|error| error.to_string());
            assert!(error.iter().all(|error| error.contains("levels deep")), "{shown}: {error:?}");
            let error = super::super::scan(&least).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("levels deep"), "{shown}: {error}");
        }
        // One token for each level, so that the most that is accepted is tried above.
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
