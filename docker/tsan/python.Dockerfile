# CPython compiled with ThreadSanitizer, with its headers: what instrumented wheels
# are built in, and what base.Dockerfile takes the base image from. No step needs a
# network: the Debian packages, clang among them, are in BUILDER already.
#
# Context: python.tar.xz.
ARG BUILDER
FROM ${BUILDER}
# 1: the build without the GIL.
ARG FREE_THREADED=0
# Major version of LLVM.
ARG LLVM
ARG JOBS=1
# The compiler's __DATE__ goes into sys.version; 1980 is the oldest time that a
# wheel, being a zip file, can hold.
ARG SOURCE_DATE_EPOCH=315532800
RUN --mount=type=bind,source=python.tar.xz,target=/mnt/python.tar.xz \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    # With more random bits in addresses, each program would have to execute itself
    # again through personality(2), which Docker's seccomp profile forbids.
    bits=$(cat /proc/sys/vm/mmap_rnd_bits); \
    if [ "$bits" -gt 30 ]; then \
        echo "error: ThreadSanitizer needs vm.mmap_rnd_bits of at most 30, and this kernel has $bits:" \
            "run 'sudo sysctl vm.mmap_rnd_bits=28' on the machine of the Docker engine"; \
        exit 1; \
    fi; \
    # The interpreter reports races only where TSAN_OPTIONS asks for it, so that
    # programs that are not tests run as usual.
    install -d /usr/local/lib/tsan; \
    echo 'const char *__tsan_default_options(void) { return "report_bugs=0:exitcode=0"; }' > /tmp/options.c; \
    "clang-${LLVM}" -c -o /usr/local/lib/tsan/options.o /tmp/options.c; \
    rm /tmp/options.c; \
    export TSAN_OPTIONS=report_bugs=0:exitcode=0; \
    set -- --with-ensurepip=no --without-static-libpython --enable-loadable-sqlite-extensions \
        --disable-test-modules --with-thread-sanitizer; \
    case ${FREE_THREADED} in 0) ;; 1) set -- "$@" --disable-gil ;; *) exit 2 ;; esac; \
    mkdir /tmp/python; cd /tmp/python; \
    tar -xJf /mnt/python.tar.xz --strip-components=1; \
    ./configure -q "$@" CC="clang-${LLVM}" CXX="clang++-${LLVM}" LIBS=/usr/local/lib/tsan/options.o \
        OPT='-DNDEBUG -fwrapv -O1 -g -fno-omit-frame-pointer -ffile-prefix-map=/tmp/python=cpython'; \
    make -s -j"${JOBS}"; \
    # -x: no byte code here; base.Dockerfile writes it for what stays.
    make -s install COMPILEALL_OPTS='-x .'; \
    install -d /usr/local/share/tsan; \
    install -m 644 Tools/tsan/suppressions_free_threading.txt /usr/local/share/tsan/cpython.txt; \
    # Names functions and lines in reports. Its library is a Debian package of the
    # base image.
    install "/usr/lib/llvm-${LLVM}/bin/llvm-symbolizer" /usr/local/bin; \
    cd /; rm -rf /tmp/python; \
    ln -s python3 /usr/local/bin/python; \
    cd "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"; \
    # Needs Tk, which is not there, bundles a second pip, or tests CPython.
    rm -rf ensurepip idlelib tkinter turtle.py turtledemo \
        test lib-dynload/_test*.so lib-dynload/_ctypes_test*.so lib-dynload/_xxtestfuzz*.so lib-dynload/xx*.so \
        /usr/local/bin/idle3* /usr/local/share/man; \
    # What this wrote gets one time, or no two builds would have the same layer.
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +

# A missing header makes CPython leave the module out without an error.
RUN python -c 'import _ctypes, _curses, _decimal, _hashlib, _uuid, bz2, compression.zstd, \
ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib'
