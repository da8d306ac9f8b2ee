# For `cargo xtask bench build`: the image as one would write it by hand. The
# caller appends the image's own ENV lines.
#
# Context: wheels/.
ARG BASE
FROM ${BASE}
USER root
COPY wheels /wheels
RUN python -m pip install --no-index --no-deps --no-cache-dir /wheels/*.whl && rm -r /wheels
USER app
