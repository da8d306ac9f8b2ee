//! Finds raw pointers that may reach another thread, based on names. The compiler rejects direct uses, but not
//! pointers converted to integers or wrapped in `unsafe impl Send`.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Expr, FnArg, Ident, Local, Pat, Signature, Type};

/// Functions that run their closure in another thread, or without the GIL.
pub const CROSSINGS: [&str; 10] = [
    "spawn",
    "spawn_blocking",
    "spawn_local",
    "spawn_scoped",
    "scope",
    "detach",
    "allow_threads",
    "future_into_py",
    "block_on",
    "for_each",
];

/// Methods and functions that return a raw pointer.
const GIVERS: [&str; 7] = ["as_ptr", "as_mut_ptr", "into_ptr", "into_raw", "as_raw", "data_ptr", "cast_mut"];

/// Names of the raw pointers in a function.
#[derive(Default)]
pub struct Pointers(BTreeSet<String>);

impl Pointers {
    /// Returns the raw pointers among the arguments.
    pub fn of(sig: &Signature) -> Pointers {
        let mut names = BTreeSet::new();
        for input in &sig.inputs {
            if let FnArg::Typed(argument) = input
                && has_pointer(&argument.ty)
                && let Pat::Ident(pattern) = &*argument.pat
            {
                names.insert(pattern.ident.to_string());
            }
        }
        Pointers(names)
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// Adds or removes names according to a `let` statement.
    pub fn local(&mut self, local: &Local) {
        let (pattern, typed) = match &local.pat {
            Pat::Type(typed) => (&*typed.pat, has_pointer(&typed.ty)),
            other => (other, false),
        };
        let given = local.init.as_ref().is_some_and(|init| self.is_pointer(&init.expr));
        if let Pat::Ident(pattern) = pattern {
            match typed || given {
                true => self.0.insert(pattern.ident.to_string()),
                // The name now refers to something else.
                false => self.0.remove(&pattern.ident.to_string()),
            };
        }
    }

    pub fn is_pointer(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Cast(cast) => matches!(&*cast.ty, Type::Ptr(_)),
            Expr::Path(path) => path.path.get_ident().is_some_and(|name| self.0.contains(&name.to_string())),
            Expr::MethodCall(call) => {
                GIVERS.iter().any(|giver| call.method == giver)
                    || (["add", "sub", "offset", "cast"].iter().any(|step| call.method == step)
                        && self.is_pointer(&call.receiver))
            }
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) => {
                    path.path.segments.last().is_some_and(|last| GIVERS.iter().any(|giver| last.ident == giver))
                }
                _ => false,
            },
            Expr::Paren(inner) => self.is_pointer(&inner.expr),
            Expr::Try(inner) => self.is_pointer(&inner.expr),
            Expr::Unsafe(block) => match block.block.stmts.last() {
                Some(syn::Stmt::Expr(last, None)) => self.is_pointer(last),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Returns whether a type contains a raw pointer; those in the signature of a function pointer are not stored.
pub fn has_pointer(ty: &Type) -> bool {
    struct Found(bool);
    impl<'ast> Visit<'ast> for Found {
        fn visit_type_ptr(&mut self, _: &'ast syn::TypePtr) {
            self.0 = true;
        }
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0 |= segment.ident == "NonNull";
            visit::visit_path_segment(self, segment);
        }
        // In syn's words, the type of a pointer to a function.
        fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
    }
    let mut found = Found(false);
    found.visit_type(ty);
    found.0
}

pub fn is_integer(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if ["usize", "isize", "u64", "i64"].iter().any(|name| path.path.is_ident(name)))
}

/// The known pointers that a closure or a future uses, where `expr` is one.
pub fn captured(expr: &Expr, known: &BTreeSet<String>) -> Vec<(String, Span)> {
    struct Uses<'k> {
        known: &'k BTreeSet<String>,
        found: Vec<(String, Span)>,
    }
    impl<'ast> Visit<'ast> for Uses<'_> {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            if let Some(name) = path.get_ident() {
                self.name(name);
            }
            visit::visit_path(self, path);
        }
    }
    impl Uses<'_> {
        fn name(&mut self, name: &Ident) {
            let text = name.to_string();
            if self.known.contains(&text) && !self.found.iter().any(|(found, _)| *found == text) {
                self.found.push((text, name.span()));
            }
        }
    }
    if !matches!(expr, Expr::Closure(_) | Expr::Async(_)) {
        return Vec::new();
    }
    let mut uses = Uses { known, found: Vec::new() };
    uses.visit_expr(expr);
    uses.found
}
