# Python base images: `slim` from a CPython compiled by python.Dockerfile,
# `distribution` from Debian's own package. Nothing here needs a network: the
# packages are in ROOT already (builder.Dockerfile).
#
# Context: one pip-<version>-*.whl. A wheel's name carries its version, and pip
# refuses to read it under another.

# DEVEL: what python.Dockerfile made. ROOT: the root with the shared libraries.
# `scratch` only lets a target be built that needs just one of them.
ARG DEVEL=scratch
ARG ROOT=scratch

# ---- trimmed: what a running program needs of it ----
FROM ${DEVEL} AS trimmed
RUN --mount=type=bind,target=/mnt \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    cd "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"; \
    # sysconfig reads its values from a Python module; the Makefile beside it
    # and the headers are for compiling extensions, which `devel` is for.
    rm -rf config-* /usr/local/include /usr/local/lib/pkgconfig /usr/local/bin/*-config; \
    set -- /mnt/pip-*.whl; \
    PYTHONPATH=$1 python -m pip install \
        --no-index --no-deps --no-compile --no-cache-dir --root-user-action=ignore "$1"; \
    find /usr/local -depth -name __pycache__ -exec rm -rf '{}' +; \
    # Byte code, since the ordinary user cannot write any: each start would
    # compile again. By hash, unchecked: no time stamps, no stat at import.
    # pip is run once, if ever, and does without.
    python -m compileall -q -j0 --invalidation-mode unchecked-hash -x site-packages .; \
    # The compiler's byte code says which objects were in use elsewhere at that
    # moment, which is chance; read and written again, it is always the same.
    python -c 'import marshal, pathlib; [ \
        path.write_bytes(code[:16] + marshal.dumps(marshal.loads(code[16:]))) \
        for path in sorted(pathlib.Path().rglob("*.pyc")) for code in [path.read_bytes()]]'; \
    # What this wrote gets one time, or no two builds would have the same layer.
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +

# ---- what both kinds share ----
FROM ${ROOT} AS common
RUN set -eu; \
    started=$(($(date +%s) - 5)); \
    # By this variable the shadow file says when the password was set last.
    export SOURCE_DATE_EPOCH=315532800; \
    useradd --uid 10001 --user-group --no-log-init --no-create-home --home-dir /home/app \
        --shell /usr/sbin/nologin app; \
    # A home that can be written: libraries put their caches there.
    install -d -o app -g app /home/app /app; \
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +
ENV PYTHONUNBUFFERED=1
WORKDIR /app
CMD ["python"]

# ---- slim: the base image ----
FROM common AS slim
# Not COPY, which gives /usr/local the time of the build.
RUN --mount=type=bind,from=trimmed,source=/usr/local,target=/mnt \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    cp -a /mnt/. /usr/local; \
    ldconfig; \
    # Inode numbers, only to make the next run of ldconfig faster.
    : > /var/cache/ldconfig/aux-cache; \
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +
USER app
# Once more, where it counts: a missing shared library shows only here.
RUN python -c 'import _ctypes, _curses, _decimal, _hashlib, _uuid, bz2, compression.zstd, \
ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib' && pip --version

# ---- distribution: the base image where Debian ships this version itself ----
FROM common AS distribution
# As in `python3.11`: which of Debian's interpreters.
ARG PYTHON=python3.11
RUN --mount=type=bind,target=/mnt \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    ln -s "/usr/bin/${PYTHON}" /usr/local/bin/python; \
    ln -s python /usr/local/bin/python3; \
    set -- /mnt/pip-*.whl; \
    PYTHONPATH=$1 python -m pip install \
        --no-index --no-deps --no-compile --no-cache-dir --root-user-action=ignore "$1"; \
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +
USER app
RUN python -c 'import _ctypes, _curses, _decimal, _hashlib, _uuid, bz2, \
ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib' && pip --version
