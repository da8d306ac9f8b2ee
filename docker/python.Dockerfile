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
    set --; \
    if [ "${OPTIMIZE}" = 0 ]; then \
        make -s -j"${JOBS}"; \
    else \
        # The steps of `make profile-opt`, with less work. What configure wrote is changed
        # on make's command line, so that sysconfig does not depend on it.
        value() { sed -n "s/^$1=[[:space:]]*//p" Makefile; }; \
        # --with-lto asks for debug information, which strip would throw away.
        cflags="$(value CONFIGURE_CFLAGS_NODIST) -g0"; \
        ldflags="$(value CONFIGURE_LDFLAGS_NODIST) -g0"; \
        training="$(value PROFILE_TASK)"; \
        profile="$(value PGO_PROF_USE_FLAG)"; \
        # What the Makefile does not have would otherwise be left out without an error.
        : "${training:?no PROFILE_TASK}" "${profile:?no PGO_PROF_USE_FLAG}"; \
        case ${ldflags} in *-flto*) ;; *) echo 'no -flto' >&2; exit 2 ;; esac; \
        # Counts what runs, and is thrown away. The compiler counts before LTO begins.
        make -s -j"${JOBS}" profile-gen-stamp CONFIGURE_CFLAGS_NODIST="${cflags} -fno-lto" \
            CONFIGURE_LDFLAGS_NODIST="${ldflags} -fno-lto"; \
        cp -a Python/frozen_modules /tmp/frozen_modules; \
        # The training run interrupts itself, and fails where it inherits an ignored
        # SIGINT, as from a background job. All processes count into the same files.
        env --default-signal=INT make -s profile-run-stamp PROFILE_TASK="${training} -j${JOBS}"; \
        # Three programs are only needed for the frozen modules, which are there already,
        # and for tests. "Fat" objects are compiled twice, for links with and without LTO.
        cp -a /tmp/frozen_modules/*.h Python/frozen_modules/; rm -r /tmp/frozen_modules; \
        set -- -o all -o Programs/_freeze_module -o _bootstrap_python -o Programs/_testembed; \
        make -s -j"${JOBS}" build_all "$@" CFLAGS_NODIST="${profile}" \
            CONFIGURE_CFLAGS_NODIST="${cflags} -fno-fat-lto-objects" \
            CONFIGURE_LDFLAGS_NODIST="${ldflags} -flto=${JOBS}"; \
    fi; \
    # -x: no byte code here; it is written below, once, for what stays.
    make -s install "$@" COMPILEALL_OPTS='-x .'; \
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
