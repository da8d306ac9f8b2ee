# For `cargo xtask bench build`: a runtime image from an interpreter compiled in
# another. The caller appends the image's own ENV lines.
#
# Context: wheels/.
ARG PYTHON
ARG RUNTIME
FROM ${PYTHON} AS python
FROM ${RUNTIME}
COPY --from=python /usr/local /usr/local
COPY wheels /wheels
RUN ldconfig && python3 -m pip install --no-index --no-deps --no-cache-dir /wheels/*.whl && rm -r /wheels \
    && useradd --create-home app
USER app
CMD ["python3"]
