"""What runs on a host that may have nothing: constant POSIX sh. Data comes as arguments or on stdin, never in it."""

from __future__ import annotations

import shlex

LOOK = r"""
dir=$1; host=$2; shift 2
say() { printf '%s\t%s\n' "$1" "$2"; }
say uid "$(id -u)"
say user "$(id -un 2>/dev/null)"
say arch "$(uname -m)"
say system "$(uname -s)"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
[ -n "$libc" ] || for l in /lib/ld-musl-*; do [ -e "$l" ] && libc=musl; done
say libc "$libc"
say init "$(cat /proc/1/comm 2>/dev/null)"
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
  v=$(systemctl --version 2>/dev/null | head -n 1); v=${v#systemd }; say systemd "${v%% *}"
fi
for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 /usr/libexec/platform-python; do
  w=$(command -v "$p" 2>/dev/null) || continue
  c='import sys,ssl,zlib,ctypes,asyncio,http.client,fcntl,xmlrpc.client,zipfile;print("%d.%d" % sys.version_info[:2])'
  v=$("$w" -I -S -c "$c" 2>/dev/null) && say python "$w $v" || say halfpython "$w"
done
command -v openssl >/dev/null 2>&1 && say openssl yes
elsewhere() {
  for c in /proc/[0-9]*/cmdline; do
    l=$(tr '\0' ' ' <"$c" 2>/dev/null) || continue
    case "$l" in *" run --dir "*) r=${l#*" run --dir "}; printf '%s\n' "${r%% *}" ;; esac
  done
  grep -h '^ExecStart=.* run --dir ' /etc/systemd/system/cockpit-agent.service 2>/dev/null | while IFS= read -r l; do
    r=${l#*" run --dir "}; printf '%s\n' "${r%% *}"
  done
  crontab -l 2>/dev/null | grep -F '# cockpit /' | while IFS= read -r l; do printf '%s\n' "${l##*# cockpit }"; done
}
missing=
for c in sha256sum mkdir mv cat df rm ln readlink tr grep; do
  command -v "$c" >/dev/null 2>&1 || missing="$missing $c"
done
say lacks "$missing"
case "$dir" in
  "") for d in "$@"; do
        case "$d" in "~/"*) d=$HOME/${d#??} ;; esac
        [ -n "$dir" ] || dir=$d
        [ -f "$d/identity/host.json" ] && { dir=$d; break; }
      done
      [ -f "$dir/identity/host.json" ] || for d in $(elsewhere); do
        [ -f "$d/identity/host.json" ] || continue
        tr -d ' \n' <"$d/identity/host.json" | grep -qF "\"name\":\"$host\"" && { dir=$d; break; }
      done ;;
  "~/"*) dir=$HOME/${dir#??} ;;
esac
say dir "$dir"
d=$dir
while [ ! -d "$d" ]; do d=${d%/*}; [ -n "$d" ] || d=/; done
say free "$(df -Pk "$d" 2>/dev/null | { read -r x; read -r a b c f r; echo "$f"; })"
[ -w "$d" ] || say denied "$d"
[ -e "$dir" ] && say owner "$(stat -c %u "$dir" 2>/dev/null)"
[ -f "$dir/identity/host.json" ] && say identity "$(head -c 4096 "$dir/identity/host.json" | tr '\n\t' '  ')"
if [ -L "$dir/bin/current" ]; then
  t=$(readlink "$dir/bin/current"); say current "$t"
  for f in "$dir/bin/current/cockpit-agent" "$dir/bin/current/cockpit-agent.pyz"; do
    [ -f "$f" ] || continue
    s=$(sha256sum "$f"); say sum "${s%% *} ${f##*/}"
  done
fi
for f in "$dir"/units/*/spec.json; do [ -f "$f" ] && { say records yes; break; }; done
for c in /proc/[0-9]*/cmdline; do
  l=$(tr '\0' ' ' <"$c" 2>/dev/null) || continue
  p=${c#/proc/}; p=${p%/cmdline}
  case "$l" in
    *" run --dir $dir "*) say agent "$p" ;;
    */keeper" $dir "*) say keeper "$p" ;;
  esac
done
for u in cockpit-keeper.service cockpit-agent.service; do
  f=/etc/systemd/system/$u
  if [ -f "$f" ]; then
    l="$(grep '^ExecStart=' "$f" 2>/dev/null) "
    case "$l" in
      *" --dir $dir "*) ;;
      *" --dir "*) l=${l#* --dir }; say elsewhere "${l%% *}"; continue ;;
    esac
    s=$(sha256sum "$f"); say unit "$u ${s%% *}"
  fi
  if command -v systemctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
    systemctl is-enabled --quiet "$u" 2>/dev/null && say enabled "$u"
    systemctl is-active --quiet "$u" 2>/dev/null && say active "$u"
  fi
done
if command -v crontab >/dev/null 2>&1; then
  say crontab yes
  crontab -l 2>/dev/null | grep -F "# cockpit $dir" | { IFS= read -r l && say cronline "$l"; }
  for c in /proc/[0-9]*/comm; do
    read -r n 2>/dev/null <"$c" || continue
    case "$n" in cron|crond|busybox-cron|fcron) say cron "$n"; break ;; esac
  done
fi
[ -e /sys/fs/selinux/enforce ] && say selinux yes
say end yes
"""
"""DIR HOST CANDIDATE... -> a fact a line, `NAME<tab>VALUE`. DIR empty: the first candidate with an identity,
else where an agent of that name runs or is started from, else the first."""

UPLOAD = r"""
umask 077
d=$1; digest=$2; sum=$3; name=$4
mkdir -p "$d" "$d/bin" "$d/bundle" || exit 1
b=$d/bin/$digest
rm -rf "$b".tmp.*
if [ -f "$b/$name" ] && [ "$(sha256sum <"$b/$name")" = "$sum  -" ]; then cat >/dev/null; echo there; exit 0; fi
t=$b.tmp.$$
trap 'rm -rf "$t"' EXIT
mkdir "$t" && cat >"$t/$name" || { echo "its disk does not take it" >&2; exit 5; }
got=$(sha256sum <"$t/$name"); got=${got%% *}
[ "$got" = "$sum" ] || { echo "it arrived with SHA-256 $got" >&2; exit 6; }
chmod 700 "$t/$name" || exit 1
[ -e /sys/fs/selinux/enforce ] && chcon -t bin_t "$t/$name" 2>/dev/null
sync
rm -rf "$b"
mv "$t" "$b" || exit 1
echo new
"""
"""DIR DIGEST SHA256 NAME, the file on stdin: DIR/bin/DIGEST/NAME holds it, whole and verified. 5, 6: said why."""

POINT = r"""
cd "$1/bin" || exit 1
rm -f current.new
ln -s "$2" current.new && mv -fT current.new current 2>/dev/null || { rm -rf current; mv -f current.new current; }
[ "$(readlink current)" = "$2" ]
"""
"""DIR DIGEST: `bin/current` is that one."""

RUN = r"""
COCKPIT_UNPACK=$1; export COCKPIT_UNPACK; shift
umask 077
exec "$@"
"""
"""UNPACK argv..."""

INSTALL_UNITS = r"""
umask 022
d=/etc/systemd/system
cat >"$d/.$1.new" && chmod 644 "$d/.$1.new" && mv -f "$d/.$1.new" "$d/$1" || exit 1
command -v restorecon >/dev/null 2>&1 && restorecon "$d/$1"
exit 0
"""
"""NAME, its text on stdin."""

SYSTEMCTL = r"""
exec systemctl "$@"
"""

DETACH = r"""
COCKPIT_UNPACK=$1; dir=$2; shift 2
export COCKPIT_UNPACK
umask 077
mkdir -p "$dir/logs"
cd /
if command -v setsid >/dev/null 2>&1; then setsid "$@" </dev/null >>"$dir/logs/agent.log" 2>&1 &
else nohup "$@" </dev/null >>"$dir/logs/agent.log" 2>&1 & fi
p=$!
sleep 1
kill -0 "$p" 2>/dev/null || { tail -n 3 "$dir/logs/agent.log" >&2; exit 1; }
"""
"""UNPACK DIR argv...: it runs on when we leave."""

TERM = r"""
kill -TERM "$@" 2>/dev/null
exit 0
"""
"""PID..."""

CRON_READ = r"""
crontab -l 2>/dev/null
exit 0
"""
CRON_WRITE = r"""
exec crontab -
"""

WHY = r"""
if [ -d /run/systemd/system ]; then
  for u in cockpit-keeper.service cockpit-agent.service; do
    systemctl is-active --quiet "$u" && continue
    systemctl show --property=Id,ActiveState,SubState,Result --value "$u" | tr '\n' ' '
  done
  journalctl --no-pager --quiet --output=cat --lines=5 --unit=cockpit-agent.service 2>/dev/null
fi
tail -n 5 "$1/logs/agent.log" "$1/keeper.out" 2>/dev/null
exit 0
"""
"""DIR -> what may say why the agent does not come."""


def command(script: str, *args: str) -> str:
    """The one string that SSH carries."""
    return shlex.join(["sh", "-c", script.strip(), "sh", *args])
