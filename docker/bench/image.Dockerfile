# For `cargo xtask bench build`: the image as one would write it by hand.
# Requirements change rarely, so their layer is below that of the packages. The
# caller appends the ENV lines of the image.
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
