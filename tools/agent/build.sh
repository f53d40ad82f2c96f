#!/bin/sh
# Make dist/cockpit-agent.pyz and dist/cockpit-agent. The interpreter is built once: build.sh [BUILD [DIST]]
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build/agent}
dist=${2:-dist}
python=${PYTHON:-.venv/bin/python}

digest=$(cat tools/agent/sources.sh tools/agent/runtime.sh tools/agent/modules.txt tools/agent/module.c \
    tools/agent/stub.c tools/agent/library.py | sha256sum)
if ! [ -f "$build/made" ] || [ "$(cat "$build/made")" != "$digest" ]; then
    tools/debian.sh gcc musl-gcc=musl-tools make perl dpkg-source=dpkg-dev patch xz=xz-utils
    [ -d /usr/include/linux ] || tools/debian.sh linux/version.h=linux-libc-dev
    echo "building the interpreter in $build (once; two to ten minutes)" >&2
    mkdir -p "$build"
    rm -f "$build/made"
    tools/agent/runtime.sh "$build"
    echo "$digest" >"$build/made"
fi
exec "$python" -m tools.agent.pack "$build" "$dist"
