# A base image plus the wheels of one image, without a network. The caller
# appends the image's own ENV lines; labels come through the API.
#
# Context: wheelhouse/, with the wheels and a requirements.txt in which each line
# is one `name==version --hash=sha256:...`; uv's own wheel; compile_bytecode.py.
ARG BASE
FROM ${BASE}
USER root
# Mounted, not copied: the wheels must not become a layer of their own.
# uv, because pip takes several times as long. --no-deps: the list is complete,
# and the check says so if it is not.
RUN --mount=type=bind,target=/mnt --mount=type=tmpfs,target=/tmp \
    set -eu; \
    started=$(($(date +%s) - 5)); \
    python -m zipfile -e /mnt/uv-*.whl /tmp/uv; \
    uv=$(echo /tmp/uv/uv-*.data/scripts/uv); \
    chmod +x "$uv"; \
    export UV_OFFLINE=1 UV_NO_CONFIG=1 UV_NO_CACHE=1 UV_SYSTEM_PYTHON=1; \
    "$uv" pip install --quiet --break-system-packages --no-index --find-links=/mnt/wheelhouse \
        --require-hashes --no-deps --only-binary=:all: --link-mode=copy -r /mnt/wheelhouse/requirements.txt; \
    "$uv" pip check; \
    # uv notes here when the engine received a wheel, which is another time for each build.
    find / -xdev -name uv_cache.json -execdir sed -i '/uv_cache\.json,/d' RECORD ';' -delete; \
    python /mnt/compile_bytecode.py; \
    # What this wrote gets one time, or no two builds would have the same layer.
    find / -xdev -newermt "@$started" ! -regex '/\(dev\|mnt\|proc\|sys\|etc/hosts\|etc/resolv.conf\)' \
        -exec touch -h -d @315532800 '{}' +
USER app
