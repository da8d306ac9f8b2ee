# For `cargo xtask bench build`: the image in which a package is compiled, with
# pip and the pinned inputs, where `pip wheel` is then run by hand.
#
# Context: in/, with the sdist and the wheels of its build requirements.
ARG DEVEL
FROM ${DEVEL}
COPY in /in
ARG PYTHON
RUN PYTHONPATH=$(echo /in/pip-*.whl) ${PYTHON} -m pip install --no-index --root-user-action=ignore /in/pip-*.whl
