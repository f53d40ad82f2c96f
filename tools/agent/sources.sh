#!/bin/sh
# Fetch and unpack the Debian sources that the interpreter is built from, with the fixes of the release:
#   sources.sh DIR
# apt's own settings and keys are used; its lists are not touched. The newest version that the mirror really has wins.
set -eu

mkdir -p "$1"
dir=$(cd "$1" && pwd)
key=/usr/share/keyrings/debian-archive-keyring.gpg

fetch() { # fetch LISTED: with the sources of this list of repositories
    work="$dir/apt-$1"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    sources="-o Dir::Etc::SourceList=$dir/$1.list -o Dir::Etc::SourceParts=/nonexistent \
        -o Dir::State::Lists=$work/lists -o Dir::Cache=$work/cache -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086
    apt-get $sources -qq update && (cd "$dir" && apt-get $sources -qq source python3.11 openssl zlib)
}

apt-get indextargets --format "deb-src [signed-by=$key] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
    'Created-By: Packages' 'Origin: Debian' 'Component: main' | sort -u >"$dir/all.list"
grep -v -e -security -e -updates "$dir/all.list" >"$dir/release.list" || true
[ -s "$dir/release.list" ] || { echo "apt knows no Debian release: is there an apt-get update to do?" >&2; exit 1; }

# a mirror may list a security update that it does not hold; the last point release then
fetch all || { echo "the mirror does not hold the newest sources; taking those of the release" >&2; fetch release; }

for name in python3.11 openssl zlib; do
    found=$(find "$dir" -maxdepth 1 -type d -name "$name-*" | sort | tail -n 1)
    [ -n "$found" ] || { echo "no source of $name was unpacked" >&2; exit 1; }
    rm -rf "$dir/$name"
    mv "$found" "$dir/$name"
    sed -n 's/^Version: /'"$name"' /p' "$dir/$name"_*.dsc | tail -n 1 >"$dir/$name.version"
done
rm -rf "$dir"/apt-* "$dir"/*.tar.* "$dir"/*.list
