#!/bin/sh
# Start a demo cluster, play docs/tour.play on it, end it. With a file: record the tour there.
set -eu
cd "$(dirname "$0")/.."
where=$(mktemp -d)
python=.venv/bin/python
$python -m cockpit.cli.main demo --serve --state "$where/s" >"$where/log" 2>&1 &
demo=$!
trap 'kill $demo 2>/dev/null || :; wait $demo 2>/dev/null || :; rm -rf "$where"' EXIT
for _ in $(seq 120); do
    $python -m cockpit.cli.main status --state "$where/s" --json 2>/dev/null | grep -q '"drift": \[\]' && break
    kill -0 $demo 2>/dev/null || { cat "$where/log" >&2; exit 1; }
    sleep 0.5
done
if [ -n "${1:-}" ]; then
    $python tools/play.py docs/tour.play --state "$where/s" --out "$1"
else
    $python tools/play.py docs/tour.play --state "$where/s" --watch
fi
