# Compilers for a build with ThreadSanitizer. build-wheel.sh reads this file before
# it builds, with /in/environment.sh.
#
# Environment: LLVM, the major version of LLVM that all code is compiled with.

tsan=/tmp/tsan
mkdir -p "$tsan/bin" "$tsan/cargo"

# The compilers are called through a script that instruments everything. It comes
# last, so that no makefile can turn it off. -Wno-error: with these options other
# warnings appear, and some packages treat warnings as errors.
for language in clang clang++; do
    case $language in
    clang) names="cc gcc clang x86_64-linux-gnu-gcc" ;;
    clang++) names="c++ g++ clang++ x86_64-linux-gnu-g++" ;;
    esac
    for name in $names "$language-$LLVM"; do
        cat > "$tsan/bin/$name" <<EOF
#!/bin/sh
exec /usr/bin/$language-$LLVM "\$@" -fsanitize=thread -O1 -g -fno-omit-frame-pointer -Wno-error
EOF
        chmod +x "$tsan/bin/$name"
    done
done
export PATH="$tsan/bin:$PATH"

# Rust and the sources of its standard library are Debian packages. The crates of the
# standard library lie beside its sources, those of the package in /in/crates.
if sysroot=$(rustc --print sysroot 2> /dev/null); then
    rust_llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    if [ "$rust_llvm" != "$LLVM" ]; then
        # Two versions of the instrumentation in one process can hide races.
        echo "error: rustc is built with LLVM $rust_llvm, but clang is LLVM $LLVM: correct \`tsan\` in matrix.yaml"
        exit 1
    fi
    if [ ! -d "$tsan/crates" ]; then
        mkdir "$tsan/crates"
        ln -s "$sysroot"/lib/rustlib/src/rust/library/vendor/* "$tsan/crates"
        for crate in /in/crates/*; do
            if [ -d "$crate" ]; then ln -sfn "$crate" "$tsan/crates"; fi
        done
    fi
    if [ -f /in/cargo-config.toml ]; then
        sed "s|/in/crates|$tsan/crates|" /in/cargo-config.toml > "$tsan/cargo/config.toml"
    fi
    grep -q "$tsan/crates" "$tsan/cargo/config.toml" 2> /dev/null || cat >> "$tsan/cargo/config.toml" <<EOF
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "$tsan/crates"
EOF
    # The sanitizer and the standard library from source are features of the nightly
    # compiler, which this variable allows.
    export RUSTC_BOOTSTRAP=1 CARGO_HOME="$tsan/cargo" CARGO_TERM_COLOR=never CARGO_NET_OFFLINE=true
    export CARGO_UNSTABLE_BUILD_STD=std,panic_abort
    # With an explicit target, build scripts and macros are not instrumented.
    CARGO_BUILD_TARGET=$(rustc -vV | sed -n 's/^host: //p')
    export CARGO_BUILD_TARGET
    export RUSTFLAGS="-Zsanitizer=thread -Cforce-frame-pointers=yes -Cdebuginfo=1 --cfg crossbeam_sanitize_thread"
    # Without LTO, in several units: the compiler of the package's own choice would take
    # several times as long.
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_STRIP=none
    export MATURIN_PEP517_ARGS="--auditwheel skip"
fi
