//! Tokenises C as far as the audit needs it. A full parser would fail on macros that contain parts of declarations,
//! which are common in extensions.

use anyhow::{Result, bail};

/// Token with its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'t> {
    pub kind: Kind,
    pub text: &'t str,
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Name,
    /// Number, string or character literal.
    Literal,
    Punctuation,
    /// Complete preprocessor directive, including continuation lines.
    Directive,
}

/// Returns the tokens of `text` without comments.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut lexer = Lexer { text, at: 0, line: 1, start_of_line: 0 };
    let mut found = Vec::new();
    while let Some(token) = lexer.next()? {
        found.push(token);
    }
    Ok(found)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    start_of_line: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Advances by `bytes` and counts lines.
    fn skip(&mut self, bytes: usize) {
        let end = self.at + bytes;
        for (index, _) in self.text[self.at..end].match_indices('\n') {
            self.line += 1;
            self.start_of_line = self.at + index + 1;
        }
        self.at = end;
    }

    fn next(&mut self) -> Result<Option<Token<'t>>> {
        loop {
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return Ok(None) };
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if rest.starts_with("\\\n") {
                self.skip(2);
            } else if rest.starts_with("\\\r\n") {
                self.skip(3);
            } else if rest.starts_with("//") {
                self.skip(logical_line(rest));
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else { bail!("line {}: a comment does not end", self.line) };
                self.skip(end + 2);
            } else {
                break;
            }
        }
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or_default();
        let before = self.text[self.start_of_line..self.at].trim();
        let (kind, length) = if first == '#' && before.is_empty() {
            (Kind::Directive, directive(rest))
        } else if first == '"' || first == '\'' {
            (Kind::Literal, self.quoted(rest, first)?)
        } else if is_name(first) && !first.is_ascii_digit() {
            (Kind::Name, rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
        } else if first.is_ascii_digit() {
            (Kind::Literal, rest.find(|c: char| !is_name(c) && c != '.').unwrap_or(rest.len()))
        } else {
            (Kind::Punctuation, first.len_utf8())
        };
        let token = Token { kind, text: &rest[..length], line: self.line, column: self.at - self.start_of_line + 1 };
        self.skip(length);
        Ok(Some(token))
    }

    fn quoted(&self, rest: &str, quote: char) -> Result<usize> {
        let mut escaped = false;
        for (index, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' => break,
                c if c == quote => return Ok(index + 1),
                _ => {}
            }
        }
        bail!("line {}: a {quote} does not end on its line", self.line)
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Returns the length of a line including its continuation lines.
fn logical_line(text: &str) -> usize {
    let mut from = 0;
    while let Some(end) = text[from..].find('\n').map(|end| from + end) {
        if !text[..end].trim_end_matches('\r').ends_with('\\') {
            return end;
        }
        from = end + 1;
    }
    text.len()
}

/// Like [`logical_line`], but a block comment may extend over several lines.
fn directive(text: &str) -> usize {
    let mut from = 0;
    loop {
        let end = from + logical_line(&text[from..]);
        match text[from..end].rfind("/*") {
            Some(open) if !text[from + open..end].contains("*/") => match text[end..].find("*/") {
                Some(close) => from = end + close + 2,
                None => return text.len(),
            },
            _ => return end,
        }
    }
}
