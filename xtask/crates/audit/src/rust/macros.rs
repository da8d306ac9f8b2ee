//! Scans the bodies of macros: parsed as Rust if possible, otherwise word by word.

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::visit::Visit as _;
use syn::{Block, Expr, File, Token};

use super::{Scan, rules};

impl Scan<'_> {
    pub(super) fn macro_body(&mut self, item: &syn::Macro) {
        self.body(&item.tokens);
    }

    fn body(&mut self, tokens: &TokenStream) {
        if tokens.is_empty() {
            return;
        }
        if let Ok(arguments) = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(tokens.clone()) {
            arguments.iter().for_each(|argument| self.visit_expr(argument));
        } else if let Ok(statements) = Block::parse_within.parse2(tokens.clone()) {
            statements.iter().for_each(|statement| self.visit_stmt(statement));
        } else if let Ok(file) = syn::parse2::<File>(tokens.clone()) {
            self.visit_file(&file);
        } else {
            self.words(tokens);
        }
    }

    /// Scans word by word; the content of braces may be valid Rust.
    fn words(&mut self, tokens: &TokenStream) {
        let mut before = [String::new(), String::new(), String::new()];
        for token in tokens.clone() {
            match &token {
                TokenTree::Ident(word) => {
                    let name = word.to_string();
                    if name == "unsafe" {
                        self.add(&rules::UNSAFE_BLOCK, word.span(), "in a macro");
                    }
                    if before[0] == "Python" && super::ATTACH.contains(&name.as_str()) {
                        self.add(&rules::ATTACH, word.span(), &format!("`Python::{name}`"));
                    }
                    self.name(&name, word.span());
                }
                TokenTree::Group(group) if before[2] != "unsafe" => self.body(&group.stream()),
                TokenTree::Group(group) => self.words(&group.stream()),
                _ => {}
            }
            before.rotate_left(1);
            before[2] = token.to_string();
        }
    }
}
