//! Steps for images with ThreadSanitizer: their compilers, wheels and controls.

use super::Planner;
use crate::facts::Facts;
use crate::plan::{Action, Container, Controls, Instrumented, Plan, Wheel, instrumented_id};
use matrix::{AUTO, Abi, Builder, InterpreterBuild, Matrix, Package};

/// Returns the steps that compile the controls of ThreadSanitizer for an ABI, which the last step does; `None` if the
/// interpreter is not compiled from source.
pub fn controls(matrix: &Matrix, facts: &Facts, abi: &Abi) -> Option<Plan> {
    let mut planner = Planner { matrix, facts, plan: Plan::default() };
    let compilers = planner.tsan_compilers(abi)?;
    let action = Action::Controls(Controls { compilers: compilers.clone(), llvm: matrix.tsan.llvm.to_string() });
    let files = ["build.sh", "controls.sh", "controls.c", "controls.rs"].map(|name| format!("docker/tsan/{name}"));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    planner.add(format!("controls-{}", abi.id), vec![compilers], &files, action);
    Some(planner.plan)
}

impl Planner<'_> {
    /// Adds the step of the wheel of a package in an image.
    pub(super) fn image_wheel(&mut self, image: &matrix::Image, package: &Package, abi: &Abi) -> String {
        match image.interpreter.is_some_and(InterpreterBuild::instruments_packages) {
            true => self.instrumented(package, abi),
            false => self.wheel(package, abi),
        }
    }

    /// Adds the step of a wheel that is compiled with ThreadSanitizer, or of the usual wheel of a package without native
    /// code.
    fn instrumented(&mut self, package: &Package, abi: &Abi) -> String {
        if package.build.platform.as_deref() == Some("any") {
            return self.wheel(package, abi);
        }
        let Some(compilers) = self.tsan_compilers(abi) else { return self.wheel(package, abi) };
        let llvm = self.matrix.tsan.llvm.to_string();
        let label = format!("{}-{}", abi.id, InterpreterBuild::Tsan.as_str());
        // auditwheel determines the platform, because the interpreter's runtime library is not in its lists.
        let wheel = Wheel { platform: AUTO.to_owned(), ..self.built_wheel(package, abi) };
        let set = package.build.apt.as_ref().map(|set| set.to_string()).unwrap_or_default();
        let devel = match set.is_empty() {
            true => compilers,
            false => self.apt(format!("devel-{}-{label}", package.id), compilers, &set),
        };
        let requires = self.requires(package, abi);
        let container = Container {
            rust: package.build.rust || package.build.with == Builder::Maturin,
            // For the lines of functions in reports.
            debug_info: true,
            instrumented: Some(Instrumented { llvm, label }),
            ..self.container(package, abi, wheel, (devel, requires))
        };
        self.add_container(instrumented_id(&package.id, &abi.id), container, &["docker/tsan/build.sh"])
    }

    /// Adds the image with an interpreter and compilers for C and Rust that are instrumented by ThreadSanitizer; `None` if
    /// the interpreter is not compiled from source.
    fn tsan_compilers(&mut self, abi: &Abi) -> Option<String> {
        let from = abi.interpreter.source.as_ref()?;
        let python = self.python(abi, from, InterpreterBuild::Tsan);
        let set = &self.matrix.tsan.rust_apt;
        Some(self.apt(format!("apt-{}-{set}", abi.id), python, set))
    }
}
