//! Finds code in Rust whose thread safety the compiler does not guarantee, or that relied on the GIL.

mod attributes;
mod depth;
mod macros;
mod pointers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use proc_macro2::{Span, TokenStream};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, FnArg, ReceiverKind, Safety, Signature, Type};

use crate::finding::{FILE_LEVEL, Found};
use crate::rules::{self, Rule};
use attributes::{Gil, PyClass};
use pointers::Pointers;

/// Types that are not thread-safe, by name.
const CELLS: [&str; 7] = ["UnsafeCell", "SyncUnsafeCell", "Cell", "RefCell", "OnceCell", "LazyCell", "Rc"];
/// Types that use the GIL as a lock.
const GIL_CELLS: [&str; 2] = ["GILOnceCell", "GILProtected"];
/// Functions that assume without a check that the thread is attached to the interpreter.
const ASSUME: [&str; 4] = ["assume_gil_acquired", "assume_attached", "with_gil_unchecked", "attach_unchecked"];
/// Methods of `Python` that attach the thread.
const ATTACH: [&str; 3] = ["with_gil", "attach", "try_attach"];

/// Findings of a file.
pub struct Scanned {
    pub found: Vec<Found>,
    /// Modules declared for tests only, which are in separate files.
    pub test_modules: Vec<String>,
}

/// Scans a file except for test-only code. Fails if its nesting could overflow the stack of the parser.
pub fn scan(text: &str) -> Result<Scanned> {
    // Let the parser report invalid tokens.
    if let Ok(tokens) = text.parse() {
        depth::check(tokens)?;
    }
    depth::with_stack(|| parse(text))
}

fn parse(text: &str) -> Result<Scanned> {
    let file = syn::parse_file(text).map_err(|error| {
        let at = error.span().start();
        anyhow!("line {}, column {}: {error}", at.line, at.column + 1)
    })?;
    let mut scan = Scan { text, ..Scan::default() };
    if !attributes::for_tests(&file.attrs) {
        scan.visit_file(&file);
    }
    scan.found.sort_by_key(|found| (found.line, found.column));
    Ok(Scanned { found: scan.found, test_modules: scan.test_modules })
}

#[derive(Default)]
struct Scan<'t> {
    text: &'t str,
    found: Vec<Found>,
    test_modules: Vec<String>,
    /// Names of the enclosing modules, types and functions.
    around: Vec<String>,
    /// Raw pointers of the enclosing functions.
    pointers: Vec<Pointers>,
    /// Inside an `impl` with `#[pymethods]`.
    methods: bool,
}

impl Scan<'_> {
    /// Adds a finding. Its text consists of the tokens, so that comments and formatting do not affect it.
    fn add(&mut self, rule: &'static Rule, span: Span, note: &str) {
        let range = span.byte_range();
        let source = self.text.get(range).unwrap_or_default();
        let snippet = match source.parse::<TokenStream>() {
            Ok(tokens) => tokens.to_string(),
            Err(_) => source.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let start = span.start();
        self.found.push(Found {
            rule,
            line: start.line,
            column: start.column + 1,
            function: match self.around.is_empty() {
                true => FILE_LEVEL.to_owned(),
                false => self.around.join("::"),
            },
            snippet,
            note: note.to_owned(),
        });
    }

    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.around.push(name);
        visit(self);
        self.around.pop();
    }

    /// Scans a function. `whole` is its whole span, which is the finding for an unsafe function.
    fn function(&mut self, attrs: &[Attribute], sig: &Signature, whole: Span, visit: impl FnOnce(&mut Self)) {
        if attributes::for_tests(attrs) {
            return;
        }
        self.pointers.push(Pointers::of(sig));
        self.inside(sig.ident.to_string(), |scan| {
            if matches!(sig.safety, Safety::Unsafe(_)) {
                scan.add(&rules::UNSAFE_FN, whole, "");
            }
            scan.module(attrs, sig.span());
            if scan.methods {
                scan.method(sig);
            }
            visit(scan);
        });
        self.pointers.pop();
    }

    fn module(&mut self, attrs: &[Attribute], span: Span) {
        match attributes::module(attrs) {
            None => {}
            Some((Gil::Unused, at)) => self.add(&rules::MODULE_UNUSED, at, ""),
            Some((Gil::Used, at)) => self.add(&rules::MODULE_USED, at, ""),
            Some((Gil::Default, _)) => self.add(&rules::MODULE_DEFAULT, span, ""),
        }
    }

    fn method(&mut self, sig: &Signature) {
        let mutable = match sig.inputs.first() {
            Some(FnArg::Receiver(receiver)) => match &receiver.kind {
                ReceiverKind::Reference(_, _, mutability) => mutability.is_some(),
                _ => false,
            },
            Some(FnArg::Typed(argument)) => names(&argument.ty, &["PyRefMut"]),
            None => false,
        };
        if mutable {
            self.add(&rules::PYCLASS_MUT_SELF, sig.span(), "");
        }
    }

    fn class(&mut self, attrs: &[Attribute], name: &syn::Ident) {
        let Some(PyClass { frozen, unsendable, span }) = attributes::class(attrs) else { return };
        let note = format!("`{name}`");
        self.inside(name.to_string(), |scan| {
            if unsendable {
                scan.add(&rules::PYCLASS_UNSENDABLE, span, &note);
            }
            if !frozen {
                scan.add(&rules::PYCLASS_MUTABLE, span, &note);
            }
        });
    }

    fn name(&mut self, name: &str, span: Span) {
        let note = format!("`{name}`");
        if CELLS.contains(&name) {
            self.add(&rules::CELL, span, &note);
        } else if GIL_CELLS.contains(&name) {
            self.add(&rules::GIL_CELL, span, &note);
        } else if ASSUME.contains(&name) {
            self.add(&rules::ASSUME, span, &note);
        }
    }

    fn pointer_in_type(&mut self, ty: &Type, span: Span, what: &str) {
        if pointers::has_pointer(ty) {
            self.add(&rules::RAW_POINTER, span, what);
        }
    }
}

/// Returns whether a type contains one of these names.
fn names(ty: &Type, wanted: &[&str]) -> bool {
    struct Names<'w>(&'w [&'w str], bool);
    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.1 |= self.0.iter().any(|name| segment.ident == name);
            visit::visit_path_segment(self, segment);
        }
    }
    let mut found = Names(wanted, false);
    found.visit_type(ty);
    found.1
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if attributes::of_item(item).is_none_or(|attrs| !attributes::for_tests(attrs)) {
            visit::visit_item(self, item);
        } else if let syn::Item::Mod(module) = item
            && module.content.is_none()
        {
            self.test_modules.push(module.ident.to_string());
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.inside(module.ident.to_string(), |scan| {
            scan.module(&module.attrs, module.ident.span());
            visit::visit_item_mod(scan, module);
        });
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, &item.sig, item.span(), |scan| visit::visit_item_fn(scan, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.attrs, &item.sig, item.span(), |scan| visit::visit_impl_item_fn(scan, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.attrs, &item.sig, item.span(), |scan| visit::visit_trait_item_fn(scan, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let own = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        let before = std::mem::replace(&mut self.methods, attributes::has(&item.attrs, "pymethods"));
        self.inside(own.unwrap_or_else(|| "impl".to_owned()), |scan| {
            if item.unsafety.is_some() {
                let named = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
                scan.add(
                    &rules::UNSAFE_IMPL,
                    item.span(),
                    &named.map_or(String::new(), |name| format!("`{}`", name.ident)),
                );
            }
            visit::visit_item_impl(scan, item);
        });
        self.methods = before;
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.add(&rules::FOREIGN, item.span(), "");
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        if matches!(item.mutability, syn::StaticMutability::Mut(_)) {
            self.add(&rules::STATIC_MUT, item.span(), &format!("`{}`", item.ident));
        }
        self.pointer_in_type(&item.ty, item.span(), "in a static");
        visit::visit_item_static(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.class(&item.attrs, &item.ident);
        self.inside(item.ident.to_string(), |scan| visit::visit_item_struct(scan, item));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.inside(item.ident.to_string(), |scan| visit::visit_item_enum(scan, item));
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.inside(item.ident.to_string(), |scan| visit::visit_item_union(scan, item));
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.pointer_in_type(&field.ty, field.span(), "in a type");
        visit::visit_field(self, field);
    }

    fn visit_expr_unsafe(&mut self, item: &'ast syn::ExprUnsafe) {
        self.add(&rules::UNSAFE_BLOCK, item.span(), "");
        visit::visit_expr_unsafe(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        for segment in &path.segments {
            self.name(&segment.ident.to_string(), segment.ident.span());
        }
        if let [.., owner, function] = segments.as_slice()
            && owner == "Python"
            && ATTACH.contains(&function.as_str())
        {
            self.add(&rules::ATTACH, path.span(), &format!("`Python::{function}`"));
        }
        visit::visit_path(self, path);
    }

    fn visit_use_rename(&mut self, item: &'ast syn::UseRename) {
        // A renamed import would otherwise be missed.
        self.name(&item.ident.to_string(), item.span());
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        self.name(&method, call.method.span());
        if method == "gil_used" {
            let unused = call.args.first().is_some_and(attributes::is_false);
            self.add(if unused { &rules::MODULE_UNUSED } else { &rules::MODULE_USED }, call.method.span(), "");
        }
        self.crossing(&method, &call.args);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func
            && let Some(last) = path.path.segments.last()
        {
            self.crossing(&last.ident.to_string(), &call.args);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        if let Some(pointers) = self.pointers.last_mut() {
            pointers.local(local);
        }
    }

    fn visit_expr_cast(&mut self, cast: &'ast syn::ExprCast) {
        if pointers::is_integer(&cast.ty) && self.pointers.iter().any(|known| known.is_pointer(&cast.expr)) {
            self.add(&rules::RAW_POINTER, cast.span(), "kept as an integer");
        }
        visit::visit_expr_cast(self, cast);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if item.path.segments.last().is_some_and(|segment| segment.ident == "thread_local") {
            self.add(&rules::THREAD_LOCAL, item.span(), "");
        }
        self.visit_path(&item.path);
        self.macro_body(item);
    }
}

impl Scan<'_> {
    /// Checks for pointers in a closure or future that this function may run in another thread, or detached.
    fn crossing(&mut self, function: &str, arguments: &syn::punctuated::Punctuated<syn::Expr, syn::Token![,]>) {
        if !pointers::CROSSINGS.contains(&function) {
            return;
        }
        let known: BTreeSet<String> = self.pointers.iter().flat_map(|known| known.names()).cloned().collect();
        for argument in arguments {
            for (name, span) in pointers::captured(argument, &known) {
                self.add(&rules::RAW_POINTER, span, &format!("`{name}` in a closure given to `{function}`"));
            }
        }
    }
}
