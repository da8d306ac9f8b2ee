//! Analyses declarations in C by the order of their tokens, because C has no keyword for functions and variables.

use super::lex::{Kind, Token};

/// Types of tables that the interpreter only reads, whether `const` or not. Every extension has dozens of them.
const TABLES: [&str; 7] = [
    "PyMethodDef",
    "PyMemberDef",
    "PyGetSetDef",
    "PyModuleDef_Slot",
    "PyType_Slot",
    "PyType_Spec",
    "PyStructSequence_Field",
];

/// Returns the name of the function whose body follows `head`.
pub fn function_name<'t>(head: &[&Token<'t>]) -> Option<&'t str> {
    let open = head.iter().position(|token| token.text == "(")?;
    let assigned = head[..open].iter().any(|token| token.text == "=");
    let name = head[..open].last().filter(|token| token.kind == Kind::Name)?;
    // In `__attribute__((…)) int f(void) {`, the name precedes the last parenthesis that does not belong to an
    // attribute.
    if name.text == "__attribute__" || name.text == "__declspec" {
        let rest = after_parenthesis(&head[open..]);
        return function_name(rest);
    }
    // Macro before the function, such as `PyAPI_FUNC(int) f(void) {`.
    let rest = after_parenthesis(&head[open..]);
    if let [next, ..] = rest
        && next.kind == Kind::Name
        && rest.iter().any(|token| token.text == "(")
        && next.text != "__attribute__"
    {
        return function_name(rest);
    }
    (!assigned).then_some(name.text)
}

/// Returns the tokens after the parenthesised group at the start of `tokens`.
pub fn after_parenthesis<'s, 'a, 't>(tokens: &'s [&'a Token<'t>]) -> &'s [&'a Token<'t>] {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" => depth += 1,
            ")" if depth <= 1 => return &tokens[at + 1..],
            ")" => depth -= 1,
            _ => {}
        }
    }
    &[]
}

/// Returns whether the brace after `head` continues the statement: an initialiser, a type, or a compound literal.
pub fn continues(head: &[&Token]) -> bool {
    let Some(last) = head.last() else { return false };
    let types = head.iter().any(|token| matches!(token.text, "struct" | "union" | "enum"));
    let statement = matches!(last.text, ")" | "else" | "do" | ":");
    let literal = last.text == ")" && head.iter().any(|token| matches!(token.text, "=" | "return"));
    let condition = matches!(head[0].text, "if" | "while" | "for" | "switch" | "else" | "do");
    last.text == "=" || last.text == "," || last.text == "(" || (!condition && (literal || (types && !statement)))
}

/// Returns the names of writable variables with static storage that this declaration defines.
pub fn mutable_statics<'a, 't>(tokens: &[&'a Token<'t>], at_file_level: bool) -> Vec<&'a Token<'t>> {
    let declarators = declarators(tokens);
    let Some(first) = declarators.first() else { return Vec::new() };
    let has = |word: &str| first.tokens.iter().any(|token| token.text == word);
    let starts = |words: &[&str]| first.tokens.first().is_some_and(|token| words.contains(&token.text));
    if starts(&["typedef", "return", "goto", "case"]) || has("_Thread_local") || has("__thread") || has("thread_local")
    {
        return Vec::new();
    }
    // In a function, only `static` variables are shared; at file level, all that are defined here.
    let shared = if at_file_level { !has("extern") || first.value } else { starts(&["static"]) };
    if !shared || TABLES.into_iter().any(has) {
        return Vec::new();
    }
    let base = first.tokens.iter().position(|token| token.text == "*").unwrap_or(first.tokens.len());
    let constant_base = first.tokens[..base].iter().any(|token| token.text == "const");
    // `struct x;` and macro calls declare no variable.
    let types = first.tokens.iter().any(|token| matches!(token.text, "struct" | "union" | "enum"));
    let words = first.tokens.iter().filter(|token| token.kind == Kind::Name).count();
    if words < 2 || (types && words < 3 && !first.value) {
        return Vec::new();
    }
    declarators.iter().filter_map(|declarator| declarator.written(constant_base)).collect()
}

/// Part of a declaration between commas, without values and array sizes.
struct Declarator<'a, 't> {
    tokens: Vec<&'a Token<'t>>,
    /// Whether it has an initialiser.
    value: bool,
}

fn declarators<'a, 't>(tokens: &[&'a Token<'t>]) -> Vec<Declarator<'a, 't>> {
    let mut found = vec![Declarator { tokens: Vec::new(), value: false }];
    let (mut braces, mut parentheses) = (0_usize, 0_usize);
    for token in tokens {
        let top = braces == 0 && parentheses == 0;
        match token.text {
            "{" | "[" => braces += 1,
            "}" | "]" => braces = braces.saturating_sub(1),
            "(" => parentheses += 1,
            ")" => parentheses = parentheses.saturating_sub(1),
            _ => {}
        }
        let Some(last) = found.last_mut() else { break };
        match token.text {
            "," if top => found.push(Declarator { tokens: Vec::new(), value: false }),
            "=" if top => last.value = true,
            "{" | "[" | "}" | "]" => {}
            _ if braces == 0 && !last.value => last.tokens.push(token),
            _ => {}
        }
    }
    found
}

impl<'a, 't> Declarator<'a, 't> {
    /// Returns the variable's name if the variable is writable.
    fn written(&self, constant_base: bool) -> Option<&'a Token<'t>> {
        let is = |token: &&&Token, word: &str| token.text == word;
        let open = self.tokens.iter().position(|token| token.text == "(");
        let until = match open {
            // `int (*f)(void)` is a variable, `int f(void)` is not.
            Some(open) if self.tokens.get(open + 1).filter(|next| is(next, "*")).is_some() => {
                self.tokens.iter().position(|token| token.text == ")")?
            }
            Some(_) => return None,
            None => self.tokens.len(),
        };
        let declared = &self.tokens[..until];
        let pointer = declared.iter().rposition(|token| token.text == "*");
        let constant = declared.iter().rposition(|token| token.text == "const");
        let written = match pointer {
            // For a pointer, the part after the last star counts: `char *const`.
            Some(star) => constant.is_none_or(|at| at < star),
            None => !constant_base,
        };
        declared.iter().rev().find(|token| token.kind == Kind::Name).copied().filter(|_| written)
    }
}

/// Returns the declaration up to `name` with single spaces between tokens, without the value, which may change after
/// a review.
pub fn head(tokens: &[&Token], name: &Token) -> String {
    let before = tokens.iter().take_while(|token| token.text != "=" && token.text != "{");
    let mut words: Vec<&str> = before.map(|token| token.text).collect();
    if !words.contains(&name.text) {
        words.push(name.text);
    }
    words.join(" ")
}
