//! Evaluates GitHub Actions expressions as far as the workflows use them; panics for anything else.

use serde_json::{Value, json};

/// Evaluates an expression without its `${{ }}`.
pub fn evaluate(text: &str, contexts: &Value) -> Value {
    let mut parser = Parser { rest: text, contexts };
    let value = parser.or();
    assert!(parser.rest.trim().is_empty(), "`{}` is left of the expression `{text}`", parser.rest);
    value
}

/// Replaces the expressions in a text by their values. A text that consists of one expression becomes its value.
pub fn expand(text: &str, contexts: &Value) -> Value {
    let only = text.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    if let Some(expression) = only.filter(|inner| !inner.contains("}}")) {
        return evaluate(expression, contexts);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, behind) = after.split_once("}}").unwrap();
        out.push_str(before);
        out.push_str(&shown(&evaluate(expression, contexts)));
        rest = behind;
    }
    json!(out + rest)
}

/// Formats a value as text.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value != &json!("") && value != &json!(0)
}

struct Parser<'a> {
    rest: &'a str,
    contexts: &'a Value,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(token);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn or(&mut self) -> Value {
        let mut value = self.and();
        while self.eat("||") {
            let other = self.and();
            value = if truthy(&value) { value } else { other };
        }
        value
    }

    fn and(&mut self) -> Value {
        let mut value = self.equal();
        while self.eat("&&") {
            let other = self.equal();
            value = if truthy(&value) { other } else { value };
        }
        value
    }

    fn equal(&mut self) -> Value {
        let value = self.unary();
        if self.eat("==") {
            return json!(value == self.unary());
        }
        if self.eat("!=") {
            return json!(value != self.unary());
        }
        value
    }

    fn unary(&mut self) -> Value {
        if self.eat("!") {
            return json!(!truthy(&self.unary()));
        }
        let mut value = self.primary();
        loop {
            if self.eat(".*") {
                value = json!(value.as_object().map(|object| object.values().cloned().collect::<Vec<_>>()));
            } else if self.eat(".") {
                let name = self.name();
                value = match &value {
                    Value::Array(items) => json!(items.iter().map(|item| item[&name].clone()).collect::<Vec<_>>()),
                    other => other[&name].clone(),
                };
            } else if self.eat("[") {
                let index: usize = self.name().parse().unwrap();
                assert!(self.eat("]"));
                value = value[index].clone();
            } else {
                return value;
            }
        }
    }

    fn primary(&mut self) -> Value {
        if self.eat("(") {
            let value = self.or();
            assert!(self.eat(")"));
            return value;
        }
        if self.eat("'") {
            let (text, rest) = self.rest.split_once('\'').unwrap();
            self.rest = rest;
            return json!(text);
        }
        let name = self.name();
        if !self.eat("(") {
            // GitHub would report an unknown context only at run time.
            return self.contexts.get(&name).unwrap_or_else(|| panic!("there is no context `{name}`")).clone();
        }
        let mut arguments = Vec::new();
        while !self.eat(")") {
            arguments.push(self.or());
            self.eat(",");
        }
        match (name.as_str(), arguments.as_slice()) {
            ("always", []) => json!(true),
            ("cancelled", []) => json!(false),
            // A job that did not run has no outputs.
            ("fromJSON", [text]) if !truthy(text) => Value::Null,
            ("fromJSON", [text]) => serde_json::from_str(&shown(text)).unwrap(),
            ("join", [list, between]) => {
                json!(list.as_array().unwrap().iter().map(shown).collect::<Vec<_>>().join(&shown(between)))
            }
            other => panic!("the function {other:?} is not known"),
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(rest.len());
        assert!(end > 0, "a name is missing before `{rest}`");
        self.rest = &rest[end..];
        rest[..end].to_owned()
    }
}

#[test]
fn expressions_are_what_they_are_at_github() {
    let contexts = json!({
        "needs": {"a": {"result": "success"}, "b": {"result": "skipped"}},
        "github": {"event": {"before": "abc"}, "plan": "{\"rows\":[{\"id\":1}]}"},
    });
    for (text, value) in [
        ("github.event.pull_request.sha || github.event.before", json!("abc")),
        ("!cancelled() && needs.a.result == 'success' && needs.b.result != 'failure'", json!(true)),
        ("fromJSON(github.plan).rows[0]", json!({"id": 1})),
        ("fromJSON(github.plan).rows[1]", Value::Null),
        ("join(needs.*.result, ' ')", json!("success skipped")),
        ("fromJSON(github.nothing).rows[0]", Value::Null),
    ] {
        assert_eq!(evaluate(text, &contexts), value, "{text}");
    }
    assert_eq!(expand("x-${{ github.event.before }}-y", &contexts), json!("x-abc-y"));
}
