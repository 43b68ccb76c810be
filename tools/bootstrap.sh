#!/bin/sh
# Makes .venv with exactly what uv.lock says. Usage: tools/bootstrap.sh runtime|dev
#
# Needs Python 3.11 or newer and a way to reach a package index; no root. uv is taken from PATH, else installed into
# .venv-tools with pip, else with venv. What is ready is marked by .venv/.stamp-runtime and .venv/.stamp-dev.
set -eu
cd "$(dirname "$0")/.."
wanted=$1
uv_bound='uv>=0.9' # as in pyproject.toml

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "MapRun needs Python 3.11 or newer. ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 | tail -n 1); install a newer one, or name it: make PYTHON=/path/to/python3.13"
}

# A uv counts when it runs and is as new as pyproject.toml asks for.
works() {
    "$1" tree --frozen --depth 0 --python "$python" >/dev/null 2>&1
}

find_uv() {
    if works uv; then
        command -v uv
        return
    fi
    if ! works .venv-tools/bin/uv; then
        printf 'Installing uv into .venv-tools\n' >&2
        rm -rf .venv-tools
        if "$python" -m pip --version >/dev/null 2>&1; then
            "$python" -m pip install --quiet --target .venv-tools "$uv_bound" >&2
        elif "$python" -m venv .venv-tools >/dev/null 2>&1; then
            .venv-tools/bin/python -m pip install --quiet "$uv_bound" >&2
        else
            fail "$python has neither pip nor venv, and uv is not on PATH. On Debian or Ubuntu: apt-get install python3-venv"
        fi
    fi
    printf '%s/.venv-tools/bin/uv\n' "$PWD"
}

export UV_PYTHON_DOWNLOADS=never PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
python=$(find_python)
uv=$(find_uv)
case $wanted in
runtime)
    printf 'Setting up .venv with what MapRun needs to run\n' >&2
    # --inexact: tools for development that are there already stay.
    "$uv" sync --frozen --quiet --python "$python" --no-dev --inexact
    ;;
dev)
    printf 'Setting up .venv with what the tests and checks need\n' >&2
    "$uv" sync --frozen --quiet --python "$python"
    ;;
*) fail "usage: tools/bootstrap.sh runtime|dev" ;;
esac
printf '%s\n' "$uv" >.venv/.uv
touch ".venv/.stamp-$wanted" .venv/.stamp-runtime
