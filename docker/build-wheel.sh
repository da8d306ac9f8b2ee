#!/bin/sh
# Builds one wheel from source and makes it self-contained. Runs in a container
# of the `devel` image (plus the package's own Debian packages), as root and
# without a network:
#
#   /in/sdist.tar.gz or /in/src/   the source; never written to
#   /in/requires/                  wheels of the build requirements, of auditwheel
#                                  and of uv, with requires.txt, which pins each by
#                                  hash
#   /in/parallel_compile.py        says itself what it is for
#   /in/environment.sh             if there: exports the variables of `build.env`
#   /in/rust/, /in/crates/         if there: a Rust toolchain, and crates for it,
#                                  which /in/cargo-config.toml tells Cargo
#   /out/                          receives the one repaired wheel
#
# Arguments: `--config-setting=NAME=VALUE` for uv, which passes them to the build
# backend.
#
# Environment: PYTHON, the interpreter's command (python3.14t); PLATFORM, the
# platform tag to repair to (manylinux_2_34_x86_64), or `auto` for the lowest that
# fits; SUBDIRECTORY, the folder of the source to build (default: its top); JOBS,
# how many compilers run at a time (default: all cores; 1: everything in the order
# of the plain tools); DEBUG_INFO, `keep` or nothing; SOURCE_DATE_EPOCH (default:
# 1980, the oldest time that a zip file can hold).
#
# docs/build-additions.md lists what is added here to a build by the plain tools;
# keep it complete.
#
# The compiler's messages go through unchanged, on stdout and stderr: the caller
# reads the names of missing headers and libraries out of them.
set -eu

: "${PYTHON:?command of the interpreter, for example python3.14t}"
: "${PLATFORM:?platform tag, for example manylinux_2_34_x86_64}"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-315532800}"
# Not in the environment of the build: makefiles use variables of these names.
interpreter=$PYTHON platform=$PLATFORM jobs=${JOBS:-$(nproc)} debug_info=${DEBUG_INFO:-}
subdirectory=${SUBDIRECTORY:-}
unset PYTHON PLATFORM JOBS DEBUG_INFO SUBDIRECTORY

# The same path each time: it ends up in debug information and in assertions.
work=/tmp/build
rm -rf "$work"
mkdir -p /out "$work/src" "$work/dist" "$work/tmp"
export TMPDIR="$work/tmp"

if [ -d /in/src ]; then
    cp -R /in/src/. "$work/src"
else
    tar -xzf /in/sdist.tar.gz -C "$work/src" --strip-components=1 --no-same-owner
fi

source=$work/src${subdirectory:+/$subdirectory}
if [ ! -d "$source" ]; then
    echo "error: the source has no folder \`$subdirectory\`, which \`source.subdirectory\` names"
    exit 1
fi

# In an environment of its own: the image stays as it is when it is used again.
# uv, because pip takes ten times as long to install as much.
"$interpreter" -m zipfile -e /in/requires/uv-*.whl "$work/uv"
uv=$(echo "$work"/uv/uv-*.data/scripts/uv)
chmod +x "$uv"
"$interpreter" -m venv --without-pip "$work/env"
export VIRTUAL_ENV="$work/env" PATH="$work/env/bin:$PATH" UV_OFFLINE=1 UV_NO_CONFIG=1 UV_NO_CACHE=1
"$uv" pip install --quiet --no-index --find-links=/in/requires \
    --require-hashes --no-deps --only-binary=:all: --link-mode=copy -r /in/requires/requires.txt

# Nothing in the sources is changed to use all cores: make and CMake take the
# number from the environment, and setuptools finds parallel_compile.py as it
# finds any plugin.
if [ "$jobs" -gt 1 ]; then
    export MAKEFLAGS="-j$jobs" CMAKE_BUILD_PARALLEL_LEVEL="$jobs" PARALLEL_COMPILE_JOBS="$jobs"
    site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp /in/parallel_compile.py "$site"
    plugin="$site/parallel_compile-1.dist-info"
    mkdir "$plugin"
    printf 'Metadata-Version: 2.1\nName: parallel-compile\nVersion: 1\n' > "$plugin/METADATA"
    printf '[setuptools.finalize_distribution_options]\nparallel_compile = parallel_compile:enable\n' \
        > "$plugin/entry_points.txt"
fi

# Four fifths of some modules are debug information, and it takes a good part of
# the time to make. The compilers are called through a script that tells them,
# after the package's own options, not to make it, and tells the linker to leave
# out that of files which were compiled before. The names of functions stay, so
# that the stack of a crash is readable. CFLAGS and LDFLAGS are not set, because
# that would replace the values that a makefile has for them by default.
if [ "$debug_info" != keep ]; then
    mkdir "$work/bin"
    for name in cc gcc c++ g++ x86_64-linux-gnu-gcc x86_64-linux-gnu-g++; do
        compiler=$(command -v "$name") || continue
        cat > "$work/bin/$name" <<EOF
#!/bin/sh
# With an option for the linker, gcc would link where it is only asked something.
strip=-Wl,--strip-debug
for argument; do
    case \$argument in -c | -S | -E | -M | -MM | -v | -### | -dump* | -print* | --version | --help) strip= ;; esac
done
exec $compiler "\$@" -g0 \$strip
EOF
        chmod +x "$work/bin/$name"
    done
    export PATH="$work/bin:$PATH"
fi

# scikit-build-core would take a folder with a random name, which assertions keep.
export SKBUILD_BUILD_DIR="$work/skbuild"

# Cargo and the Rust compiler of the caller's machine, for setuptools-rust.
if [ -d /in/rust ]; then
    export CARGO_HOME="$work/cargo" CARGO_TERM_COLOR=never CARGO_BUILD_JOBS="$jobs" PATH="/in/rust/bin:$PATH"
    mkdir "$CARGO_HOME"
    cp /in/cargo-config.toml "$CARGO_HOME/config.toml"
fi

# For the caller's error where one is missing. Pythons before 3.11 have no tomllib.
if [ -f "$source/pyproject.toml" ]; then
    python - "$source/pyproject.toml" 2> "$work/pyproject.log" <<'EOF' || true
import sys, tomllib

with open(sys.argv[1], "rb") as file:
    for requirement in tomllib.load(file).get("build-system", {}).get("requires", ["setuptools"]):
        print(f"build-system.requires: {requirement}", flush=True)
EOF
fi

# Some backends ask for more when a build starts (PEP 517), which a build without
# isolation would not check. Not setuptools, which runs all of setup.py for this.
cat > "$work/backend_requires.py" <<'EOF'
import importlib, os, sys, tomllib
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

with open("pyproject.toml", "rb") as file:
    system = tomllib.load(file).get("build-system", {})
name, _, path = system.get("build-backend", "setuptools.build_meta").partition(":")
if name.partition(".")[0] == "setuptools":
    sys.exit()
sys.path[:0] = [os.path.abspath(folder) for folder in system.get("backend-path", [])]
backend = importlib.import_module(name)
for part in filter(None, path.split(".")):
    backend = getattr(backend, part)
hook = getattr(backend, "get_requires_for_build_wheel", list)
missing = []
for text in hook():
    requirement = Requirement(text)
    if requirement.marker is None or requirement.marker.evaluate():
        try:
            found = requirement.specifier.contains(version(requirement.name), prereleases=True)
        except PackageNotFoundError:
            found = False
        if not found:
            missing.append(text)
for text in missing:
    print("missing build requirement:", text, flush=True)
sys.exit(3 if missing else 0)
EOF
if [ -f "$source/pyproject.toml" ]; then
    code=0
    (
        if [ -f /in/environment.sh ]; then . /in/environment.sh; fi
        cd "$source"
        exec python "$work/backend_requires.py" 2> "$work/backend.log"
    ) || code=$?
    # A backend that fails here will say why when it builds.
    if [ "$code" = 3 ]; then exit 1; fi
fi

# In a shell of its own, because the package's variables may have the names of those here.
set -- "$uv" build --wheel --no-build-isolation --out-dir "$work/dist" "$@" "$source"
(
    if [ -f /in/environment.sh ]; then . /in/environment.sh; fi
    exec "$@"
)

mkdir "$work/repaired"
case $(echo "$work"/dist/*.whl) in
*-none-any.whl) cp "$work"/dist/*.whl "$work/repaired" ;;
# The libraries that are not part of the platform go into the wheel, so that the
# runtime image needs none of this image's packages.
*)
    repair() { auditwheel repair --plat "$1" --only-plat --wheel-dir "$work/repaired" "$work"/dist/*.whl; }
    if [ "$platform" != auto ]; then
        repair "$platform"
    elif ! repair auto 2> "$work/auditwheel.log"; then
        cat "$work/auditwheel.log" >&2
        # auditwheel cannot tell the platform of modules that use nothing of glibc:
        # they run with any.
        grep -q InvalidLibcError "$work/auditwheel.log"
        repair "manylinux_2_17_$(uname -m)"
    fi
    ;;
esac

# Complete or not at all, and the caller's own, not root's.
for wheel in "$work"/repaired/*.whl; do
    name=${wheel##*/}
    cp "$wheel" "/out/.$name.part"
    chown --reference=/out "/out/.$name.part"
    mv "/out/.$name.part" "/out/$name"
done
