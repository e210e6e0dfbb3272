# The function's image: locked dependencies, no compiler, no shell needed, an unprivileged user.

# The Python that CI runs the tests on. A release names it by digest: `make release BASE=...`. Another
# distribution's Python works too, if it has a shell to build with.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python3 -m venv /app
# A layer of its own, because it changes rarely. Only wheels are installed, each with its hash: nothing is compiled.
COPY requirements.txt .
RUN /app/bin/pip install --no-compile --only-binary :all: --require-hashes -r requirements.txt
# The build tools of the package, locked in the same way.
COPY requirements-build.txt .
RUN python3 -m venv tools && tools/bin/pip install --only-binary :all: --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY function function
# The build context has no git, from which the version comes elsewhere.
ARG VERSION=0.0.0
# Runs offline: all inputs are installed by now. pip is removed. Bytecode is compiled here, since the pod's file system
# is read-only; pip's own would depend on the time of the build, and would not fit files whose times a builder changes.
RUN SETUPTOOLS_SCM_PRETEND_VERSION=${VERSION} tools/bin/pip wheel --no-deps --no-index --no-build-isolation -w dist . \
 && /app/bin/pip install --no-compile --no-deps --no-index dist/*.whl \
 && /app/bin/pip uninstall -y setuptools pip \
 && PYTHONHASHSEED=0 python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /app/lib

FROM ${PYTHON}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="matrix-account-sync" \
      org.opencontainers.image.description="Keeps Matrix accounts in step with an identity service: a Dapr subscriber function for Synapse" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/app/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /app /app
# The same user as in k8s/base/deployment.yaml; a number, so that kubelet can verify that it is not root.
USER 65532:65532
EXPOSE 18080
ENTRYPOINT ["matrix-account-sync"]
CMD ["serve"]
