# CPython compiled from source with its headers: what wheels are built in, and
# what base.Dockerfile takes the slim image from. No step needs a network: the
# Debian packages are in BUILDER already (builder.Dockerfile).
#
# Context: python.tar.xz.
ARG BUILDER
FROM ${BUILDER}
# 1: the build without the GIL.
ARG FREE_THREADED=0
# 1: profile-guided and link-time optimisation, as Debian builds its own.
ARG OPTIMIZE=0
ARG JOBS=1
# The compiler's __DATE__ goes into sys.version; 1980 is the oldest time that a
# wheel, being a zip file, can hold.
ARG SOURCE_DATE_EPOCH=315532800
RUN --mount=type=bind,source=python.tar.xz,target=/mnt/python.tar.xz \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    set -- --with-ensurepip=no --without-static-libpython --enable-loadable-sqlite-extensions; \
    case ${FREE_THREADED} in 0) ;; 1) set -- "$@" --disable-gil ;; *) exit 2 ;; esac; \
    # The training run leaves test_bytes out where the test modules are missing,
    # and would optimise for something else than Debian's and the official build.
    case ${OPTIMIZE} in \
        0) set -- "$@" --disable-test-modules ;; \
        1) set -- "$@" --enable-optimizations --with-lto ;; \
        *) exit 2 ;; \
    esac; \
    # The same path for every version: it ends up in sysconfig.
    mkdir /tmp/python; cd /tmp/python; \
    tar -xJf /mnt/python.tar.xz --strip-components=1; \
    # configure's own value without -g, which strip would throw away again.
    ./configure -q "$@" OPT='-DNDEBUG -fwrapv -O3 -Wall'; \
    # configure asks for a link on one core. Said to make alone, so that sysconfig
    # does not depend on the number of cores; LDFLAGS_NODIST would also reach the
    # helper program that is linked without LTO.
    set --; \
    flags="$(sed -n 's/^CONFIGURE_LDFLAGS_NODIST=//p' Makefile)"; \
    case ${flags} in *-flto*) set -- "CONFIGURE_LDFLAGS_NODIST=${flags} -flto=${JOBS}" ;; esac; \
    # The training run of the optimised build interrupts itself, and fails where
    # it inherits an ignored SIGINT, as from a background job.
    env --default-signal=INT make -s -j"${JOBS}" "$@"; \
    # -x: no byte code here; it is written below, once, for what stays.
    make -s install COMPILEALL_OPTS='-x .'; \
    cd /; rm -rf /tmp/python; \
    ln -s python3 /usr/local/bin/python; \
    cd "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"; \
    # Needs Tk, which is not there, bundles a second pip, or tests CPython.
    rm -rf ensurepip idlelib tkinter turtle.py turtledemo \
        test lib-dynload/_test*.so lib-dynload/_ctypes_test*.so lib-dynload/_xxtestfuzz*.so lib-dynload/xx*.so \
        /usr/local/bin/idle3* /usr/local/share/man; \
    find /usr/local/bin /usr/local/lib -type f \( -name '*.so' -o -path '*/bin/python3.*[0-9t]' \) \
        -exec strip --strip-unneeded '{}' +; \
    # What this wrote gets one time, or no two builds would have the same layer.
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +

# A missing header makes CPython leave the module out without an error.
RUN python -c 'import _ctypes, _curses, _decimal, _hashlib, _uuid, bz2, compression.zstd, \
ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib'
