#!/bin/sh
# Compiles the controls: libraries in C and in Rust, each with a function that has a
# data race and one that has none. Runs in the image with the compilers, without a
# network.
#
#   /in/build.sh, /in/controls.c, /in/controls.rs   beside this file in the source
#   /out/libcontrols_c.so, /out/libcontrols_rust.so the result
#
# Environment: LLVM, the major version of LLVM.
set -eu
. /in/build.sh
mkdir -p /out /tmp/controls/src
cd /tmp/controls
cp /in/controls.c /in/controls.rs .
cc -shared -fPIC -o /out/.c.part controls.c
cp controls.rs src/lib.rs
cat > Cargo.toml <<'EOF'
[package]
name = "controls"
version = "0.0.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]
EOF
printf 'version = 4\n\n[[package]]\nname = "controls"\nversion = "0.0.0"\n' > Cargo.lock
cargo build --release --locked
mv "target/$CARGO_BUILD_TARGET/release/libcontrols.so" /out/.rust.part
for language in c rust; do
    mv "/out/.$language.part" "/out/libcontrols_$language.so"
done
