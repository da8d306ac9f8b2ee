#!/bin/sh
# Builds one wheel from source and makes it self-contained. Runs in a container
# of the `devel` image (plus the package's own Debian packages), as root and
# without a network:
#
#   /in/sdist.tar.gz or /in/src/   the source; never written to
#   /in/requires/                  wheels of the build requirements, of pip and of
#                                  auditwheel, with requires.txt, which pins each
#                                  by hash
#   /out/                          receives the one repaired wheel
#
# Environment: PYTHON, the interpreter's command (python3.14t); PLATFORM, the
# platform tag to repair to (manylinux_2_34_x86_64); JOBS (default: all cores);
# SOURCE_DATE_EPOCH (default: 1980, the oldest time that a zip file can hold).
#
# The compiler's messages go through unchanged, on stdout and stderr: the caller
# reads the names of missing headers and libraries out of them.
set -eu

: "${PYTHON:?command of the interpreter, for example python3.14t}"
: "${PLATFORM:?platform tag, for example manylinux_2_34_x86_64}"
jobs=${JOBS:-$(nproc)}
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-315532800}"

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

# In an environment of its own: the image stays as it is when it is used again.
"$PYTHON" -m venv --without-pip "$work/env"
export PATH="$work/env/bin:$PATH"
PYTHONPATH=$(echo /in/requires/pip-*.whl) python -m pip install --quiet --no-index --find-links=/in/requires \
    --require-hashes --no-deps --only-binary=:all: --no-cache-dir -r /in/requires/requires.txt

# Nothing in the sources is changed to use all cores: make takes -j from the
# environment; setuptools builds extension modules (not files) side by side.
export MAKEFLAGS="-j$jobs"
export CMAKE_BUILD_PARALLEL_LEVEL="$jobs"
printf '[build_ext]\nparallel = %s\n' "$jobs" > "$work/distutils.cfg"
export DIST_EXTRA_CONFIG="$work/distutils.cfg"

# Four fifths of some modules are debug information. The names of functions stay:
# a crash's stack is to be readable.
export LDFLAGS="${LDFLAGS:-} -Wl,--strip-debug"

# -v: without it pip keeps the compiler's output to itself while it runs.
pip -v wheel --no-index --no-deps --no-build-isolation --no-cache-dir \
    --wheel-dir "$work/dist" "$work/src"

mkdir "$work/repaired"
case $(echo "$work"/dist/*.whl) in
*-none-any.whl) cp "$work"/dist/*.whl "$work/repaired" ;;
# The libraries that are not part of the platform go into the wheel, so that the
# runtime image needs none of this image's packages.
*) auditwheel repair --plat "$PLATFORM" --only-plat --wheel-dir "$work/repaired" "$work"/dist/*.whl ;;
esac

# Complete or not at all, and the caller's own, not root's.
for wheel in "$work"/repaired/*.whl; do
    name=${wheel##*/}
    cp "$wheel" "/out/.$name.part"
    chown --reference=/out "/out/.$name.part"
    mv "/out/.$name.part" "/out/$name"
done
