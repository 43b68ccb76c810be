# The operator's image: the locked packages and MapRun in one virtual environment, run by nobody in particular.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/maprun UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1 UV_SYSTEM_CERTS=1
WORKDIR /src
RUN python3 -m venv /opt/uv && /opt/uv/bin/python -m pip install --no-cache-dir --quiet "uv>=0.9"
# First what changes seldom.
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-project --compile-bytecode --quiet --python "$(command -v python3)"
COPY README.md LICENSE ./
COPY operator operator
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-editable --compile-bytecode --quiet --python "$(command -v python3)"

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/maprun /opt/maprun
# Nothing is written beside a mounted volume, so that the root file system can be read-only.
ENV PATH=/opt/maprun/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["maprun"]
