# One image for both services: `docker run clarion clarion_gateway`, `docker run clarion
# clarion_publisher`; the command `clarion` is in it as well. Every version comes from constraints.txt.
#
# `--target development` adds the development page and the example, for compose.yaml.

# By its digest, so that two builds begin with the same files. `make pins` checks and updates it.
FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS base


FROM base AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# The packages come before the code, so that a change of the code leaves their layer alone.
COPY pyproject.toml constraints.txt ./
RUN ["python", "-c", "import pathlib, tomllib; project = tomllib.loads(pathlib.Path('pyproject.toml').read_text()); pathlib.Path('requirements.txt').write_text('\\n'.join(project['project']['dependencies'] + project['project']['optional-dependencies']['server'] + project['project']['optional-dependencies']['postgres'])); pathlib.Path('build-requirements.txt').write_text('\\n'.join(project['build-system']['requires']))"]
RUN python -m venv --without-pip /opt/clarion \
    && pip --python /opt/clarion/bin/python install --no-compile --constraint constraints.txt --requirement requirements.txt \
    && pip install --constraint constraints.txt --requirement build-requirements.txt

COPY README.md LICENSE ./
COPY clients/python clients/python
COPY contract contract
COPY gateway gateway
COPY publisher publisher
COPY cli cli
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/clarion/bin/python install --no-compile --no-deps wheels/*.whl

# Bytecode that names no time and knows no chance, so that the same packages make the same files.
ENV PYTHONHASHSEED=0
RUN ["python", "-m", "compileall", "-f", "-q", "--invalidation-mode", "unchecked-hash", "/opt/clarion/lib"]


FROM build AS build-development
COPY clients/page clients/page
COPY examples examples
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/clarion/bin/python install --no-compile --no-deps --force-reinstall wheels/*.whl
RUN ["python", "-m", "compileall", "-f", "-q", "--invalidation-mode", "unchecked-hash", "/opt/clarion/lib"]


FROM base AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Clarion" \
      org.opencontainers.image.description="Real-time events on every open browser and app: gateway and publisher in one image." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://forge.example/clarion/clarion" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

# The root file system is meant to be read-only: the bytecode was compiled above.
ENV PATH="/opt/clarion/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# A derived image puts an application's handlers here; `python -m` looks into the working directory.
WORKDIR /app

# A number, so that Kubernetes can see for itself that it is not root.
USER 10001:10001
EXPOSE 8000 8080 9090

# No shell in between: SIGTERM reaches the service, which drains.
ENTRYPOINT ["python", "-m"]
CMD ["clarion_gateway"]


FROM runtime AS development
COPY --from=build-development /opt/clarion /opt/clarion


# The last one is what `docker build` makes.
FROM runtime AS production
COPY --from=build /opt/clarion /opt/clarion
