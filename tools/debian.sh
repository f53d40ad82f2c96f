#!/bin/sh
# Install the Debian packages that are missing. Arguments are commands, as COMMAND=PACKAGE
# where the two have different names. Root installs; anybody else is told what to type.
# Exit status: 0 all there, 2 something is missing (said last).

set -eu

missing=
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    export RUNLEVEL=1 # the checks start their own servers: no system service is wanted
    # shellcheck disable=SC2086 # the list is meant to be split
    apt-get update -qq </dev/null >/dev/null &&
        apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null && exit 0
    echo "apt-get could not install$missing: see above." >&2
    exit 2
fi
echo "Missing:$missing. As root: apt-get install$missing" >&2
exit 2
