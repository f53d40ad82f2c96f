#!/bin/sh
# Make .venv and install the tree into it, once.
#
#   tools/venv.sh          what running Cockpit needs
#   tools/venv.sh dev      what the checks need as well
#
# A stamp in .venv holds a digest of everything the installation depends on. While it fits,
# nothing is run and no network is needed. VENV and PYTHONS override the directory and the
# interpreters that are tried. Exit status: 0 installed, 2 something is missing (said last).

set -eu
cd "$(dirname "$0")/.."

extra=${1:-}
venv=${VENV:-.venv}
pythons=${PYTHONS:-python3.13 python3.12 python3.11 python3}

fail() {
    printf '%s\n' "$@" >&2
    exit 2
}

# The first interpreter that is new enough and can make environments; else say what is missing.
find_python() {
    without_venv=
    for name in $pythons; do
        command -v "$name" >/dev/null 2>&1 || continue
        "$name" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$name" -I -c 'import venv, ensurepip' 2>/dev/null; then
            command -v "$name"
            return
        fi
        without_venv=$name # the last one: the system's own when there is one
    done
    [ -z "$without_venv" ] || fail \
        "$without_venv-venv is missing. As root: apt-get install $without_venv-venv"
    fail "Python 3.11 or newer is missing (tried $pythons). As root: apt-get install python3 python3-venv"
}

python=$(find_python) || exit $?

place="$(pwd) $("$python" -I -c 'import sys; print(*sys.version.split(), sys.executable)')"
digest=$({ echo "$place"; cat pyproject.toml requirements.lock; } | sha256sum)
digest=${digest%% *}

says() { # does file $1 of the environment hold the line $2?
    [ -f "$venv/$1" ] && [ "$(cat "$venv/$1")" = "$2" ]
}

if says installed-dev "$digest" || { [ -z "$extra" ] && says installed "$digest"; }; then
    exit 0
fi

# An environment of another interpreter, or one that was moved here, is made anew.
if ! says made "$place"; then
    echo "making $venv with $("$python" -V)" >&2
    "$python" -m venv --clear "$venv" || fail "Making $venv failed: see above."
    echo "$place" >"$venv/made"
fi
rm -f "$venv/installed" "$venv/installed-dev"

echo "installing into $venv (once; this takes a minute or two)" >&2
"$venv/bin/python" -m pip install -qq --disable-pip-version-check \
    --constraint requirements.lock --editable ".${extra:+[$extra]}" ||
    fail "The installation failed: see pip's words above."

echo "$digest" >"$venv/installed${extra:+-$extra}"
