# For `cargo xtask bench build`: the image as one would write it by hand, what
# changes rarely first. The caller appends the image's own ENV lines.
#
# Context: requirements/ and wheels/.
ARG BASE
FROM ${BASE}
USER root
RUN --mount=type=bind,source=requirements,target=/mnt \
    python -m pip install --no-index --no-deps --no-cache-dir /mnt/*.whl
RUN --mount=type=bind,source=wheels,target=/mnt \
    python -m pip install --no-index --no-deps --no-cache-dir /mnt/*.whl
USER app
