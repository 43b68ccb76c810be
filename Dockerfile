# MapRun's image: operator and command line. The locked packages and MapRun in one virtual environment, run by nobody in
# particular. Two builds of the same sources on the same base give the same layer: docs/image.md.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# Empty leaves Parquet out, which is more than half of what MapRun adds to its base.
ARG EXTRAS="--extra parquet"
# How old everything in the layer is; seconds since 1970.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/maprun UV_PYTHON_DOWNLOADS=never UV_NO_BUILD=1 UV_NO_CACHE=1 UV_SYSTEM_CERTS=1
WORKDIR /src
COPY tools/image-tools.txt tools/
RUN python3 -m venv /opt/tools && /opt/tools/bin/python -m pip install --no-cache-dir --quiet \
    --disable-pip-version-check --only-binary :all: --require-hashes --requirement tools/image-tools.txt
# First what changes seldom.
COPY pyproject.toml uv.lock ./
RUN /opt/tools/bin/uv sync --frozen --no-dev ${EXTRAS} --no-install-project --quiet --python "$(command -v python3)"
COPY README.md LICENSE ./
COPY examples/airports examples/airports
COPY operator operator
RUN /opt/tools/bin/python -m hatchling build --target wheel --directory /wheels && \
    /opt/tools/bin/uv pip install --quiet --python /opt/maprun --no-deps --no-index --find-links /wheels maprun
COPY tools/slim.py tools/
RUN /opt/maprun/bin/python tools/slim.py /image

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="MapRun" \
      org.opencontainers.image.description="AWS Step Functions' Distributed Map on your own Kubernetes cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
COPY --from=build /image/ /
# Nothing is written beside a mounted volume, so that the root file system can be read-only.
ENV PATH=/opt/maprun/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/maprun/bin/maprun"]
