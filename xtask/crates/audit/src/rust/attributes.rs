//! Evaluates attributes: test-only code, and the options of PyO3 modules and classes.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::{Attribute, Expr, Item, Lit, Meta};

/// GIL declaration of a `#[pymodule]`.
pub enum Gil {
    Used,
    Unused,
    /// Not specified; PyO3's default applies.
    Default,
}

/// Options of a `#[pyclass]`.
pub struct PyClass {
    pub frozen: bool,
    pub unsendable: bool,
    pub span: Span,
}

/// Returns the attributes of an item, if it can have any.
pub fn of_item(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

/// Returns whether code with these attributes is compiled only for tests: `#[test]`, `#[cfg(test)]` and
/// `#[cfg(all(test, …))]`. With `any` and `not`, it is also part of other builds.
pub fn for_tests(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.segments.last().is_some_and(|segment| segment.ident == "test"),
        Meta::List(list) if list.path.is_ident("cfg") => only_tests(&list.tokens),
        _ => false,
    })
}

fn only_tests(condition: &TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.clone().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(parts)] if word == "all" => {
            let parts: Vec<TokenTree> = parts.stream().into_iter().collect();
            parts
                .split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','))
                .any(|part| only_tests(&part.iter().cloned().collect()))
        }
        _ => false,
    }
}

/// Returns whether there is an attribute whose last path segment is `name`.
pub fn has(attrs: &[Attribute], name: &str) -> bool {
    find(attrs, name).is_some()
}

/// Returns an attribute with its arguments, also inside `cfg_attr`.
fn find<'a>(attrs: &'a [Attribute], name: &str) -> Option<(&'a Attribute, TokenStream)> {
    attrs.iter().find_map(|attribute| {
        let path = attribute.path();
        if path.segments.last().is_some_and(|segment| segment.ident == name) {
            let tokens = match &attribute.meta {
                Meta::List(list) => list.tokens.clone(),
                _ => TokenStream::new(),
            };
            return Some((attribute, tokens));
        }
        let Meta::List(list) = &attribute.meta else { return None };
        let inside = path.is_ident("cfg_attr") && words(&list.tokens).iter().any(|word| word == name);
        inside.then(|| (attribute, list.tokens.clone()))
    })
}

fn words(tokens: &TokenStream) -> Vec<String> {
    tokens.clone().into_iter().fold(Vec::new(), |mut all, token| {
        match token {
            TokenTree::Group(group) => all.extend(words(&group.stream())),
            token => all.push(token.to_string()),
        }
        all
    })
}

pub fn module(attrs: &[Attribute]) -> Option<(Gil, Span)> {
    let (attribute, tokens) = find(attrs, "pymodule")?;
    let words = words(&tokens);
    let said = words.iter().position(|word| word == "gil_used").and_then(|at| words.get(at + 2));
    let gil = match said.map(String::as_str) {
        Some("false") => Gil::Unused,
        Some(_) => Gil::Used,
        None => Gil::Default,
    };
    Some((gil, attribute.span()))
}

pub fn class(attrs: &[Attribute]) -> Option<PyClass> {
    let (attribute, tokens) = find(attrs, "pyclass")?;
    let words = words(&tokens);
    let has = |name: &str| words.iter().any(|word| word == name);
    Some(PyClass { frozen: has("frozen"), unsendable: has("unsendable"), span: attribute.span() })
}

pub fn is_false(value: &Expr) -> bool {
    matches!(value, Expr::Lit(literal) if matches!(&literal.lit, Lit::Bool(word) if !word.value))
}
