"""What runs on the far side: constant POSIX sh, data only ever as positional arguments or on stdin.

Needed there: a POSIX shell, coreutils or busybox (with `mv -T`, `setsid`, `sha256sum`,
`stat -c`), awk, tar, tail, /proc.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_DIR = """
case "$1" in
  "") if [ "$(id -u)" = 0 ]; then d=/var/lib/cockpit-ssh; else d=$HOME/.cockpit; fi ;;
  "~/"*) d=$HOME/${1#??} ;;
  *) d=$1 ;;
esac
"""

FACTS = _DIR + """
umask 077
mkdir -p "$d/releases" "$d/instances" "$d/units" "$d/logs" || exit 1
chmod 711 "$d" "$d/releases" "$d/instances"
cd "$d" || exit 1
printf 'dir %s\\n' "$(pwd -P)"
printf 'uid %s\\n' "$(id -u)"
printf 'boot %s\\n' "$(cat /proc/sys/kernel/random/boot_id)"
printf 'hertz %s\\n' "$(getconf CLK_TCK 2>/dev/null || echo 100)"
missing=
for c in setsid sha256sum stat awk tar tail mv; do command -v "$c" >/dev/null 2>&1 || missing="$missing $c"; done
printf 'lacks%s\\n' "$missing"
echo end
"""
"""DIR -> facts, a line each."""

POLL = """
d=$1; shift
cd "$d" || exit 1
printf 'now %s\\n' "$(date +%s)"
read -r up rest </proc/uptime; printf 'uptime %s\\n' "$up"
printf 'boot %s\\n' "$(cat /proc/sys/kernel/random/boot_id)"
ticks() { read -r s 2>/dev/null <"/proc/$1/stat" || return; printf ' %s' "$s"; }
for u in units/*/; do
  [ -f "$u/spec.json" ] || continue
  n=${u#units/}; n=${n%/}
  w=0; [ -f "$u/wanted" ] && w=1
  r=0; [ -f "$u/run" ] && read -r r <"$u/run"
  printf 'unit %s %s %s\\n' "$n" "$w" "$r"
  for p in "$u"/*.pid; do
    [ -f "$p" ] || continue
    read -r pid t b <"$p"; q=${p##*/}
    printf 'pid %s %s %s %s %s|' "$n" "${q%.pid}" "$pid" "$t" "$b"; ticks "$pid"; echo
  done
done
for i in instances/*/; do
  n=${i#instances/}; n=${n%/}
  [ -f "$i/current" ] && { read -r c <"$i/current"; printf 'current %s %s\\n' "$n" "$c"; }
  [ -L "$i/release" ] && printf 'link %s %s\\n' "$n" "$(readlink "$i/release")"
done
for f in releases/*/.*.json; do
  [ -f "$f" ] || continue
  n=${f#releases/}; v=${n#*/.}; printf 'release %s/%s\\n' "${n%%/*}" "${v%.json}"
done
for a in "$@"; do
  if [ -L "$a" ]; then printf 'path %s|%s\\n' "$a" "$(readlink "$a")"
  elif [ -f "$a" ]; then
    read -r pid rest <"$a"; pid=${pid%%[!0-9]*}
    printf 'file %s|%s|%s|' "$a" "$pid" "$(stat -c %Y "$a")"; [ -n "$pid" ] && ticks "$pid"; echo
  fi
done
echo end
"""
"""DIR PATH... -> state of everything that is ours; of each PATH: the pid in it, or where it points."""

PUT = """
d=$1; f=$2
umask 077
mkdir -p "$d/${f%/*}" && cd "$d" && cat >"$f.new" && mv -f "$f.new" "$f"
"""
"""DIR FILE: stdin becomes that file, atomically."""

MAKE = """
cd "$1" && umask 077 && mkdir -p "$2"
"""
"""DIR DIRECTORY."""

GET = """
cd "$1" && if [ -f "$2" ]; then head -c "$3" "$2"; else exit 3; fi
"""
"""DIR FILE MOST: its content; exit 3: there is none."""

REMOVE_UNIT = """
cd "$1" && rm -rf "units/$2" "logs/$2"
if [ -f "instances/$3/current" ]; then read -r c <"instances/$3/current"
  [ "$c" = "$4" ] && rm -f "instances/$3/current"; fi
exit 0
"""
"""DIR UNIT(flat) INSTANCE(flat) UNIT."""

SWITCH = """
cd "$1" || exit 1
umask 077
i=instances/$2; mkdir -p "$i"
if [ -n "$4" ]; then
  if [ "$(readlink "$i/release")" != "$4" ]; then
    rm -f "$i/.release.new"; ln -s "$4" "$i/.release.new" && mv -fT "$i/.release.new" "$i/release" || exit 1
  fi
fi
printf '%s\\n' "$3" >"$i/current.new" && mv -f "$i/current.new" "$i/current"
"""
"""DIR INSTANCE(flat) UNIT TARGET: the release link, and which unit the instance's service is."""

MARK = """
cd "$1/units/$2" || exit 3
umask 077
if [ "$3" = 1 ]; then : >wanted; else rm -f wanted; fi
rm -f before
if [ -n "$4" ]; then printf '%s\\n' "$4" >run.new && mv -f run.new run; fi
"""
"""DIR UNIT(flat) WANTED RUN."""

# The inner shell records itself and becomes the program: its pid and start time stay.
_BECOME = """
f=$1; shift
b=$(cat /proc/sys/kernel/random/boot_id)
t() { read -r s </proc/$$/stat; s=${s##*) }; set -- $s; t=${20}; }
t
printf '%s %s %s\\n' "$$" "$t" "$b" >"$f.new" && mv -f "$f.new" "$f" || exit 1
n=$1; shift
while [ "$n" -gt 0 ]; do v=$(cat "$2") || exit 1; export "$1=$v"; shift 2; n=$((n-1)); done
unset v b s t f n
umask 022
exec "$@"
"""

START = """
become=$1; d=$2; u=$3; run=$4; name=$5; cwd=$6; program=$7; shift 7
umask 077
mkdir -p "$d/logs/$u" || exit 1
l=$d/logs/$u/$run.$name; p=$d/units/$u
cd "$cwd" 2>/dev/null || { echo "there is no directory $cwd"; exit 4; }
case "$program" in
  */*) if [ ! -f "$program" ]; then echo "exec: ENOENT $program"; exit 4; fi
       [ -x "$program" ] || { echo "exec: EACCES $program"; exit 4; } ;;
  *) command -v "$program" >/dev/null 2>&1 || { echo "exec: ENOENT $program"; exit 4; } ;;
esac
set -C
{ : >"$p/started.$run.$name"; } 2>/dev/null || exit 5
set +C
rm -f "$p/$name.pid"
setsid sh -c "$become" sh "$p/$name.pid" "$@" </dev/null >>"$l.out" 2>>"$l.err" &
n=0
while [ ! -f "$p/$name.pid" ] && [ "$n" -lt 100 ]; do sleep 0.05; n=$((n+1)); done
[ -f "$p/$name.pid" ] && cat "$p/$name.pid"
"""
"""BECOME DIR UNIT(flat) RUN PROCESS CWD PROGRAM SECRETS [NAME FILE]... argv...: `PID TICKS BOOT`.
Exit 4: it cannot run (said why), 5: this run of it was begun already."""

STOP = """
d=$1; u=$2; sig=$3; tenths=$4
cd "$d/units/$u" || exit 3
rm -f wanted
b=$(cat /proc/sys/kernel/random/boot_id)
same() { [ "$3" = "$b" ] || return 1; read -r s 2>/dev/null <"/proc/$1/stat" || return 1; w=$2; s=${s##*) }
  set -- $s; [ "$1" != Z ] && [ "${20}" = "$w" ]; }
each() { for p in *.pid; do [ -f "$p" ] || continue; read -r pid t o <"$p"
  same "$pid" "$t" "$o" && { left=1; [ -n "$1" ] && kill -s "$1" -- "-$pid" 2>/dev/null; }; done; }
each "$sig"
n=0
while :; do left=; each ""; [ -z "$left" ] && exit 0
  [ "$n" -ge "$tenths" ] && break
  sleep 0.1; n=$((n+1)); done
each KILL
n=0
while [ "$n" -lt 50 ]; do left=; each ""; [ -z "$left" ] && exit 0; sleep 0.1; n=$((n+1)); done
exit 6
"""
"""DIR UNIT(flat) SIGNAL TENTHS: signal to the process groups, KILL after the grace. 6: something is left."""

SIGNAL = """
d=$1; u=$2; sig=$3; which=$4; group=$5
cd "$d/units/$u" || exit 3
b=$(cat /proc/sys/kernel/random/boot_id)
same() { [ "$3" = "$b" ] || return 1; read -r s 2>/dev/null <"/proc/$1/stat" || return 1; w=$2; s=${s##*) }
  set -- $s; [ "$1" != Z ] && [ "${20}" = "$w" ]; }
told=
for p in *.pid; do [ -f "$p" ] || continue
  n=${p%.pid}; [ "$which" = "*" ] || [ "$which" = "$n" ] || continue
  read -r pid t o <"$p"
  same "$pid" "$t" "$o" || continue
  if [ "$group" = 1 ]; then kill -s "$sig" -- "-$pid" || exit 5; else kill -s "$sig" "$pid" || exit 5; fi
  told=1; printf '%s %s\\n' "$n" "$pid"
done
[ -n "$told" ] || exit 6
"""
"""DIR UNIT(flat) SIGNAL PROCESS(or *) GROUP(0 or 1): to those that are still the same; `NAME PID` each. 6: none."""

SIGNAL_FILE = """
f=$1; want=$2; sig=$3
pid=; read -r pid rest 2>/dev/null <"$f"
pid=${pid%%[!0-9]*}; [ -n "$pid" ] || exit 6
read -r s 2>/dev/null <"/proc/$pid/stat" || exit 6
s=${s##*) }; set -- $s; [ "$1" != Z ] && [ "${20}" = "$want" ] || exit 6
kill -s "$sig" "$pid" || exit 5
"""
"""FILE TICKS SIGNAL: to the process that a program's own pid file names, when it began at TICKS. 6: it is gone."""

STOP_FILE = """
f=$1; want=$2; sig=$3; tenths=$4
pid=; read -r pid rest 2>/dev/null <"$f"  # many have no line end: what `read` returns says nothing
pid=${pid%%[!0-9]*}; [ -n "$pid" ] || exit 0
same() { read -r s 2>/dev/null <"/proc/$pid/stat" || return 1; s=${s##*) }; set -- $s
  [ "$1" != Z ] && [ "${20}" = "$want" ]; }
same && kill -s "$sig" "$pid"
n=0
while same; do
  if [ "$n" -ge "$tenths" ]; then kill -s KILL "$pid"; [ "$n" -ge "$((tenths+50))" ] && exit 6; fi
  sleep 0.1; n=$((n+1)); done
exit 0
"""
"""FILE TICKS SIGNAL TENTHS: the process that a program's own pid file names, when it began at TICKS."""

RUN = """
cd "$1" || exit 4
shift
exec "$@"
"""
"""CWD argv..."""

USER = """
u=$(id -u -- "$1") && g=$(id -g -- "$1") || exit 3
printf '%s %s %s\\n' "$u" "$g" "$(awk -F: -v u="$u" '$3 == u { print $6; exit }' /etc/passwd)"
"""
"""NAME -> uid gid home; exit 3: nobody is called so."""

LISTENING = """
awk 'FNR > 1 && $4 == "0A" { n = split($2, a, ":"); print a[n] }' /proc/net/tcp /proc/net/tcp6 2>/dev/null; echo end
"""
"""Ports (hex) that something listens on."""

CONNECTED = """
for p in "$@"; do
  awk -v p="$p" 'FNR > 1 && $4 == "01" { n = split($2, a, ":"); if (a[n] == p) c++ } END { print c + 0 }' \\
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
done
echo end
"""
"""PORT(hex)...: established connections to each."""

SUMS = """
cd "$1/releases/$2" 2>/dev/null || { echo end; exit 0; }
for f in .*.sums; do [ -f "$f" ] || continue; printf 'of %s\\n' "$f"; cat "$f"; done
echo end
"""
"""DIR NAME: which files of other versions have which digest."""

BEGIN = """
cd "$1" || exit 1
umask 022
mkdir -p "releases/$2" && cd "releases/$2" || exit 1
rm -rf ".$3".tmp.*; mkdir ".$3.tmp.$4" && cd ".$3.tmp.$4" || exit 1
while IFS= read -r kind && IFS= read -r a && IFS= read -r b; do
  case "$kind" in
    d) mkdir -p "./$a" ;;
    l) ln -s "$b" "./$a" ;;
    c) cp "../$a" "./$b" 2>/dev/null ;;
  esac
done
echo end
"""
"""DIR NAME VERSION MARK: stdin has directories, links and copies, three lines each."""

UNPACK = """
cd "$1/releases/$2/.$3.tmp.$4" && tar -xf -
"""

FINISH = """
cd "$1/releases/$2" || exit 1
t=.$3.tmp.$4
cat >"$t.sums"
if [ -s "$t.sums" ]; then (cd "$t" && LC_ALL=C sha256sum -c "../$t.sums" 2>/dev/null | grep -v ': OK$'); fi
n=$(find "$t" -type f | wc -l)
[ "$n" -eq "$5" ] || echo "files: $n instead of $5"
echo end
"""
"""DIR NAME VERSION MARK FILES, sums on stdin -> what is wrong."""

MODES = """
cd "$1/releases/$2/.$3.tmp.$4" || exit 1
find . -type f -exec chmod 644 {} + ; find . -type d -exec chmod 755 {} +
while IFS= read -r f; do chmod 755 "./$f" || exit 1; done
echo end
"""

INSTALL = """
cd "$1/releases/$2" || exit 1
t=.$3.tmp.$4
cat >"$t.json"
sync -f "$t" 2>/dev/null || sync
if [ -e "$3" ]; then rm -rf "$3"; fi
mv -T "$t" "$3" && mv -f "$t.sums" ".$3.sums" && mv -f "$t.json" ".$3.json" && echo end
"""
"""The record comes last: it makes the release one."""

CHECK = """
cd "$1/releases/$2/$3" 2>/dev/null || { echo "the release is gone"; echo end; exit 0; }
if [ -s "../.$3.sums" ]; then LC_ALL=C sha256sum -c "../.$3.sums" 2>/dev/null | grep -v ': OK$'; fi
echo end
"""
"""DIR NAME VERSION -> files with other content than was installed."""

PRINT = """
cd "$1/releases" || exit 1
shift
for r in "$@"; do
  printf '%s %s\\n' "$r" "$(find "$r" -type f -exec stat -c '%i %s %Y %Z %n' {} + 2>/dev/null | sort | sha256sum)"
done
echo end
"""
"""DIR NAME/VERSION... -> a fingerprint of each, cheap: no file is read."""

FIRST = """
for f in "$@"; do if [ -f "$f" ]; then printf '%s\\n' "$f"; head -c 262144 "$f"; exit 0; fi; done
exit 3
"""
"""PATH...: name and content of the first that is there."""

SFTP_AS = """
command -v setpriv >/dev/null 2>&1 || exit 3
for p in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec /usr/lib; do
  [ -x "$p/sftp-server" ] && exec setpriv --reuid="$1" --regid="$2" --init-groups -- "$p/sftp-server"
done
p=$(command -v sftp-server) && exec setpriv --reuid="$1" --regid="$2" --init-groups -- "$p"
exit 4
"""
"""UID GID: SFTP as that user. Exit 3: there is no setpriv, 4: no sftp-server that is a program."""

ENTER = """
cd "$1" || exit 126
how=$2
shift 2
if [ "$how" = login ]; then exec "$@" "${SHELL:-/bin/sh}" -l; fi
exec "$@"
"""
"""DIRECTORY given|login WORDS...: a program there, or the login's own shell behind the words."""


def command(script: str, *args: str) -> str:
    """The one string that SSH carries."""
    return shlex.join(["sh", "-c", script.strip(), "sh", *args])


def start_command(
    dir: str, unit: str, run: int, name: str, cwd: str, program: str, secrets: Sequence[tuple[str, str]],
    argv: Sequence[str],
) -> str:
    flat = [part for pair in secrets for part in pair]
    return command(
        START, _BECOME.strip(), dir, unit, str(run), name, cwd, program, str(len(secrets)), *flat, *argv
    )
