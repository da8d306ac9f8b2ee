# For `cargo xtask bench build`: a package of Python files, installed from its
# folder as the last layer of an image.
#
# Context: source/, and in/ with the wheels of its build requirements.
ARG IMAGE
FROM ${IMAGE}
USER root
# pip builds in the folder of the sources, so it must be writable.
RUN --mount=type=bind,target=/mnt,rw \
    python -m pip install --no-index --find-links /mnt/in --no-deps --no-cache-dir /mnt/source
USER app
