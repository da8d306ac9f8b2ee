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
export JOBS="${JOBS:-$(nproc)}"
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
# uv, because pip takes ten times as long to install as much.
"$PYTHON" -m zipfile -e /in/requires/uv-*.whl "$work/uv"
uv=$(echo "$work"/uv/uv-*.data/scripts/uv)
chmod +x "$uv"
"$PYTHON" -m venv --without-pip "$work/env"
export VIRTUAL_ENV="$work/env" PATH="$work/env/bin:$PATH" UV_OFFLINE=1 UV_NO_CONFIG=1 UV_NO_CACHE=1
"$uv" pip install --quiet --no-index --find-links=/in/requires \
    --require-hashes --no-deps --only-binary=:all: --link-mode=copy -r /in/requires/requires.txt

# Nothing in the sources is changed to use all cores: make takes -j from the
# environment; setuptools builds extension modules side by side, and their files
# with parallel_compile.py, which it finds as it finds any plugin.
export MAKEFLAGS="-j$JOBS"
export CMAKE_BUILD_PARALLEL_LEVEL="$JOBS"
printf '[build_ext]\nparallel = %s\n' "$JOBS" > "$work/distutils.cfg"
export DIST_EXTRA_CONFIG="$work/distutils.cfg"
site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp /in/parallel_compile.py "$site"
plugin="$site/parallel_compile-1.dist-info"
mkdir "$plugin"
printf 'Metadata-Version: 2.1\nName: parallel-compile\nVersion: 1\n' > "$plugin/METADATA"
printf '[setuptools.finalize_distribution_options]\nparallel_compile = parallel_compile:enable\n' \
    > "$plugin/entry_points.txt"

# Four fifths of some modules are debug information, and it takes a good part of
# the time to make. It is left out at the end for what is compiled already, and
# not made at all for the rest: what a build says itself (-g) comes before this.
# The names of functions stay: a crash's stack is to be readable.
export LDFLAGS="${LDFLAGS:-} -Wl,--strip-debug"
mkdir "$work/bin"
for name in cc gcc c++ g++; do
    compiler=$(command -v "$name") || continue
    printf '#!/bin/sh\nexec %s "$@" -g0\n' "$compiler" > "$work/bin/$name"
    chmod +x "$work/bin/$name"
done
export PATH="$work/bin:$PATH"

"$uv" build --wheel --no-build-isolation --out-dir "$work/dist" "$work/src"

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
