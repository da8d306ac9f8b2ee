# A base image plus the wheels of one image, without a network. The caller
# appends the image's own ENV lines; labels come through the API.
#
# Context: wheelhouse/, with the wheels and a requirements.txt in which each line
# is one `name==version --hash=sha256:...`.
ARG BASE
FROM ${BASE}
USER root
# Mounted, not copied: the wheels must not become a layer of their own.
# --no-deps: the list is complete, and `pip check` says so if it is not.
# --compile: the ordinary user cannot write byte code, and each start would
# compile again. SOURCE_DATE_EPOCH makes it refer to its source by hash, not by
# the time of this build.
RUN --mount=type=bind,source=wheelhouse,target=/mnt \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    SOURCE_DATE_EPOCH=315532800 python -m pip install --no-index --find-links=/mnt \
        --require-hashes --no-deps --only-binary=:all: --compile --no-cache-dir \
        --root-user-action=ignore -r /mnt/requirements.txt; \
    python -m pip check; \
    # The compiler's byte code says which objects were in use elsewhere at that
    # moment, which is chance; read and written again, it is always the same.
    cd "$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"; \
    python -c 'import marshal, pathlib; [ \
        path.write_bytes(code[:16] + marshal.dumps(marshal.loads(code[16:]))) \
        for path in sorted(pathlib.Path().rglob("*.pyc")) for code in [path.read_bytes()]]'; \
    # What this wrote gets one time, or no two builds would have the same layer.
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +
USER app
