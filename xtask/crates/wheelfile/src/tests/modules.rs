//! Native modules that do not fit the platform.

use super::*;

#[test]
fn the_machine_matches_the_platform() {
    let arm = "demo/_core.cpython-314t-aarch64-linux-gnu.so";
    let mut spec = wheel("cp314", "cp314t", "manylinux_2_28_aarch64", arm);
    spec.files[1].1 = minimal_extension("_core", "aarch64", Some((2, 17))).unwrap();
    let arm64 = ExpectedWheel { platform: Some("manylinux_2_28_aarch64"), ..expect("cp314t") };
    assert!(run(&spec, &arm64).is_ok());
    let found = lines(run(&spec, &expect("cp314t")));
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("is for platform `manylinux_2_28_aarch64`, not `manylinux_2_28_x86_64`"));
    spec.platform = LINUX;
    only(run(&spec, &expect("cp314t")), &format!("`{arm}` is built for `aarch64`, not for `{LINUX}`"));
    assert!(minimal_extension("x", "riscv64", None).is_err());
}

#[test]
fn glibc_must_not_exceed_the_lowest_platform_tag() {
    let with = |platform, glibc, expect: &ExpectedWheel| {
        let mut spec = wheel("cp314", "cp314t", platform, THREADED);
        spec.files[1].1 = tiny(glibc);
        run(&spec, expect)
    };
    let both = "manylinux_2_28_x86_64.manylinux2014_x86_64";
    let good = expect("cp314t");
    assert!(with(LINUX, (2, 28), &good).is_ok());
    only(with(LINUX, (2, 29), &good), &format!("`{THREADED}` needs glibc 2.29, newer than 2.28"));
    only(with(LINUX, (2, 100), &good), &format!("`{THREADED}` needs glibc 2.100, newer than 2.28"));
    assert!(with(both, (2, 17), &good).is_ok());
    only(with(both, (2, 18), &good), &format!("`{THREADED}` needs glibc 2.18, newer than 2.17"));
    let old = ExpectedWheel { max_glibc: Some((2, 27)), ..good };
    assert!(lines(with(LINUX, (2, 17), &old))[0].ends_with("requires glibc 2.28, newer than 2.27"));
    assert!(with(both, (2, 17), &old).is_ok());

    let local = "linux_x86_64";
    let found = lines(with(local, (2, 17), &ExpectedWheel { platform: Some(local), ..good }));
    assert_eq!(found, ["platform tag `linux_x86_64` states no glibc version"]);
    let free = ExpectedWheel { platform: None, ..good };
    assert!(with(local, (2, 36), &free).is_ok());
    only(with(local, (2, 37), &free), &format!("`{THREADED}` needs glibc 2.37, newer than 2.36"));
    only(
        with("musllinux_1_2_x86_64", (2, 17), &free),
        "platform tag `musllinux_1_2_x86_64` is not a tag of Linux with glibc",
    );
    assert_eq!(platform_glibc("manylinux1_x86_64"), Some(("x86_64", Some((2, 5)))));
    assert_eq!(platform_glibc("manylinux2010_i686"), Some(("i686", Some((2, 12)))));
}

#[test]
fn special_version_nodes_are_handled() {
    let node = |text: &[u8; 9]| {
        let mut spec = threaded();
        spec.platform = "manylinux_2_35_x86_64";
        swap(&mut spec.files[1].1, b"GLIBC_2.17", &[&b"G"[..], text].concat());
        run(&spec, &ExpectedWheel { platform: None, ..expect("cp314t") })
    };
    assert_eq!(node(b"LIBC_2.2\0").unwrap().glibc, Some((2, 2)));
    assert_eq!(node(b"LIBCXX_3\0").unwrap().glibc, None);
    assert!(lines(node(b"LIBC_PRIV"))[0].contains("`GLIBC_PRIV`, which belongs to no glibc release"));
    let release = |node| elf::glibc_release(node).transpose().unwrap();
    assert_eq!(release("GLIBC_2.2.5"), Some((2, 2)));
    assert_eq!(release("GLIBC_ABI_DT_RELR"), Some((2, 36)));
    assert_eq!(release("GLIBC_ABI_GNU2_TLS"), Some((2, 42)));
    assert_eq!(release("CXXABI_1.3"), None);
    assert!(elf::glibc_release("GLIBC_PRIVATE").unwrap().is_err());
}

#[test]
fn a_removed_section_table_is_an_error() {
    let mut spec = threaded();
    // Clear e_shoff, e_shnum and e_shstrndx, as `sstrip` does.
    for at in (40..48).chain(60..64) {
        spec.files[1].1[at] = 0;
    }
    let found = lines(run(&spec, &expect("cp314t")));
    assert_eq!(
        found[0],
        format!("`{THREADED}` cannot be checked: its section table disagrees with its dynamic segment")
    );
}

/// Compiles an extension whose code has cleanup to run when its thread is unwound.
fn landing(dir: &Dir, flags: &[&str]) -> Vec<u8> {
    let source = "void call(void);\nstatic void leave(int *unused) { (void)unused; }\n\
                  void *PyInit__core(void) { __attribute__((cleanup(leave))) int held = 0; call(); return 0; }\n\
                  void call(void) {}\nint main(void) { return 0; }\n";
    let (file, module) = (dir.0.join("core.c"), dir.0.join("core.so"));
    std::fs::write(&file, source).unwrap();
    let mut cc = std::process::Command::new("cc");
    cc.args(["-fPIC", "-fexceptions", "-fno-inline", "-rdynamic"]).args(flags).arg("-o").args([&module, &file]);
    assert!(cc.status().unwrap().success());
    std::fs::read(module).unwrap()
}

#[test]
fn a_private_unwinder_is_an_error_if_python_unwinds_threads() {
    let dir = Dir::new();
    let problems = |flags: &[&str], abi: &'static str| {
        let file = format!("demo/_core.cpython-{}-x86_64-linux-gnu.so", &abi[2..]);
        let mut spec = wheel(abi.trim_end_matches('t'), abi, "linux_x86_64", &file);
        spec.files[1].1 = landing(&dir, flags);
        // The local machine may have any glibc version.
        let expect = ExpectedWheel { platform: None, max_glibc: None, ..expect(abi) };
        run(&spec, &expect).map_or_else(|problems| problems.to_string(), |_| String::new())
    };
    let own = ["-shared", "-static-libgcc"];
    assert_eq!(
        problems(&own, "cp313"),
        "`demo/_core.cpython-313-x86_64-linux-gnu.so` contains its own unwinder: \
         its threads crash when Python 3.13 shuts down; link it with libgcc_s"
    );
    assert_eq!(problems(&["-shared", "-shared-libgcc"], "cp313"), "");
    assert_eq!(problems(&["-static-libgcc"], "cp313"), "", "programs run in their own process");
    assert_eq!(problems(&own, "cp314"), "");
    assert_eq!(problems(&own, "cp314t"), "");
}
