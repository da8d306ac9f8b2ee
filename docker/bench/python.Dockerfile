# For `cargo xtask bench build`: CPython as its README says it is built.
#
# Context: python.tar.xz.
ARG BUILDER
FROM ${BUILDER}
COPY python.tar.xz /tmp/python.tar.xz
# `--disable-gil` or nothing.
ARG CONFIGURE
RUN mkdir /tmp/python && cd /tmp/python && tar -xJf /tmp/python.tar.xz --strip-components=1 \
    && ./configure ${CONFIGURE} && make -j"$(nproc)" && make install \
    && rm -r /tmp/python /tmp/python.tar.xz
