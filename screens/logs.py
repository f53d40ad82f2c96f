"""The log of any selection of instances, as one stream by time. docs/logs.md."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.worker import Worker

from cockpit.model.view import LogLine
from cockpit.plan.steps import Bad, Refused
from cockpit.session.log_text import Wrong, harmless, sought, window
from screens.aim import INSTANCE, Aim
from screens.base import ClusterScreen
from screens.board import Changed
from screens.format import clock, plural, size, zone
from screens.keys import key
from screens.log_seam import Seam
from screens.look import Piece
from screens.saving import last_that_fit, save_new
from screens.widgets.bars import Bar
from screens.widgets.log import COLOURS, TIMES, Entry, Log

BATCH = 0.1
"""Seconds of lines that are added at once."""
MOST = 200
"""Instances whose logs are merged; more cannot be read."""
STORED = 200
"""Lines of each instance that are read first, and all together at most ALL_STORED."""
ALL_STORED = 10_000
WINDOW = 5000
"""The same where a time window, a run or a search says which lines are wanted."""
COPIED = 96 * 1024
"""Bytes that terminals take by OSC 52, in base64, without trouble."""
WINDOWS = ("1m", "5m", "15m", "1h", "all")
SIGNS = {"find": "/", "sieve": "&", "window": "since ", "hosts": "on hosts: ", "save": "save to: "}


class LogsScreen(ClusterScreen):
    NAME = "logs"
    DEFAULT_CSS = "LogsScreen #title { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("/", "type('find')", "find", "Highlight text; n and N go to the next. !text, /regex/.", "logs.find"),
        key("&", "type('sieve')", "filter", "Only lines with this text; !text: without it; /regex/.", "logs.filter"),
        key("n", "next(1)", "next", "The next line with what is highlighted.", "logs.next"),
        key("N", "next(-1)", "former", "The line before with what is highlighted.", "logs.former"),
        key("f", "follow", "follow", "Stay at the end, or stand still.", "logs.follow"),
        key("+", "context(1)", "context", "One more line around each that filter or search shows.", "logs.more"),
        key("-", "context(-1)", "less context", "One line less around each.", "logs.less"),
        key("W", "type('window')", "window", "Only lines since a time: 15m, 14:00, 14:00 - 14:10.", "logs.window"),
        key("H", "type('hosts')", "on hosts", "Search what is stored on the hosts; only that is sent.", "logs.hosts"),
        key("t", "stamp", "times", "Times of day, ages, or none.", "logs.times"),
        key("w", "wide", "wrap", "Wrap long lines, or scroll them by left and right.", "wide"),
        key("p", "previous", "run before", "Only the run before the newest, then the one before that.", "logs.run"),
        key("P", "newest", "all runs", "All runs again, and follow.", "logs.runs"),
        key("o", "stream", "stream", "Only stdout, only stderr, only a declared log file, all.", "sort"),
        key("s", "type('save')", "save", "Save what is shown into a new file that only you can read.", "logs.save"),
        key("y", "copy", "copy", "Copy what is shown to the clipboard of your terminal (OSC 52).", "logs.copy"),
    ]
    HINTS = (
        "logs.find", "logs.filter", "logs.follow", "logs.window", "logs.hosts", "logs.times", "wide", "sort",
        "logs.run", "logs.save", "logs.copy", "logs.more", "command",
    )  # fmt: skip

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.ended = ""
        self.dropped = 0
        self.window = ""
        self.on_hosts = ""
        self.previous = 0
        self.stream = ""
        self.seen_streams: dict[str, None] = {}
        self._pending: list[Entry] = []
        self._seam = Seam()
        self._covered = False
        """Another screen is on top, and the stream was let go."""
        self._colours: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        """Instance -> the newest run of which a line was seen."""
        self._worker: Worker[None] | None = None
        self._before = ""
        """What the field showed when it was opened: Esc goes back to it."""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, *self.names)

    def body(self) -> ComposeResult:
        self.title_bar = Bar(id="title")
        self.log_list = Log(id="log")
        self.panes = [self.log_list]
        yield self.title_bar
        yield self.log_list

    def on_mount(self) -> None:
        super().on_mount()
        self._read_anew()
        self.set_interval(BATCH, self._flush)

    def instances(self) -> list[str]:
        """The instances meant: a service, a group or a host stands for all of its own."""
        board = self.board
        out: list[str] = []
        for name in self.names or ("",):
            if name in board.instances:
                out.append(name)
            elif name in board.hosts and name not in board.nodes:
                out += [i for i, row in board.instances.items() if row.host == name]
            else:
                out += board.under(name)
        return list(dict.fromkeys(out))

    # reading

    def _read_anew(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
        self._pending = []
        self.dropped, self.ended, self._seam = 0, "", Seam()
        self.log_list.empty()
        self._worker = self.run_worker(self._read, name="logs")
        self.show_title()

    def on_screen_suspend(self) -> None:
        """Nobody looks: let the stream go. A dialog covers nothing, and what has an end of its own may reach it."""
        worker, top = self._worker, self.app.screen
        if top is self or not isinstance(top, ClusterScreen) or worker is None or worker.is_finished:
            return
        if self._follows:
            worker.cancel()
            self._worker, self._covered = None, True

    def on_screen_resume(self) -> None:
        if self._covered:
            self._covered = False
            self._worker = self.run_worker(self._read(again=True), name="logs")

    async def _read(self, again: bool = False) -> None:
        wanted = self.instances()
        self._colours = {name: n % COLOURS for n, name in enumerate(wanted)}
        if not again:
            self._runs.clear()
        if not wanted:
            self.ended = "no such instance"
            self.sync(Changed())
            return
        try:
            ask = self._asked(len(wanted[:MOST]))
        except Wrong as error:
            self.ended = str(error)
            self.sync(Changed())
            return
        if again:
            self._go_on(ask, f"lines of the meantime, until {clock(self.board.now)}, may be missing here")
        while True:
            words = ""
            try:
                async for line in self.session.logs(wanted[:MOST], **ask):
                    self.ended = ""
                    if line.stream == "cockpit":
                        words = line.text
                    if self._seam.take(line):
                        self._pending += self._new_run(line)
                        self._pending.append(self._entry(line))
                self._end(wanted, words)
                break
            except (Bad, Refused) as error:
                self.ended = str(error)
                break
            except ConnectionError as error:
                self.ended = f"no answer: {error}"
                self._go_on(ask)
                self._remark_line(f"no answer ({error}); lines of the meantime may be missing here")
                await asyncio.sleep(1.0)
                while self.board.lost is not None:
                    await asyncio.sleep(0.2)
        self.sync(Changed())

    def _go_on(self, ask: dict[str, Any], missing: str = "") -> None:
        """Ask for what is new: from the last lines on where these have times; else `missing` is said."""
        since = self._seam.begin_again()
        if since:
            ask["since"] = max(since, ask["since"])
            ask["lines"] = max(20, min(WINDOW, ALL_STORED // max(1, len(self._colours))))
        elif self._seam.untimed:
            ask["since"], ask["lines"] = 0.0, 0
        if missing and self._seam.untimed:
            self._remark_line(missing)

    @property
    def _follows(self) -> bool:
        return not self.previous and not window(self.window, time.time())[1]

    def _asked(self, count: int) -> dict[str, Any]:
        """Raises Wrong."""
        since, until = window(self.window, time.time())
        chosen = bool(since or until or self.on_hosts or self.previous)
        lines = max(20, min(WINDOW if chosen else STORED, ALL_STORED // count))
        context = self.log_list.context if self.on_hosts else 0
        return {
            "lines": lines, "follow": self._follows, "since": since, "until": until,
            "streams": [self.stream] if self.stream else [], "previous": self.previous, "grep": self.on_hosts,
            "before": context, "after": context,
        }  # fmt: skip

    def _end(self, wanted: list[str], words: str) -> None:
        if len(wanted) == 1 and words:
            self.ended = f"ended: {words}"
        elif self.previous or self.window:
            self.ended = "that is all"
        else:
            self.ended = "the log has ended"

    def _entry(self, line: LogLine) -> Entry:
        name = self.board.short(line.instance)
        if line.stream == "cockpit":
            self.dropped += line.dropped
        elif line.stream not in self.seen_streams:
            self.seen_streams[line.stream] = None
        if line.process not in ("main", ""):
            name += f" {line.process}"
        text = harmless(line.text)
        if self.look.ascii and not text.isascii():
            text = self.look.text(text)
        return Entry(
            name, line.stream, text, time=line.time, mark=line.mark, colour=self._colours.get(line.instance, 0)
        )

    def _new_run(self, line: LogLine) -> list[Entry]:
        """A line of ours where an instance was started again: a process that is killed says nothing itself."""
        if line.stream == "cockpit" or line.mark or self.on_hosts or not line.run:
            return []
        before = self._runs.get(line.instance, line.run)
        self._runs[line.instance] = max(before, line.run)
        if line.run <= before:
            return []
        row = self.board.instances.get(line.instance)
        now = next((r for r in row.runs if r.run == line.run and r.exit), None) if row is not None else None
        ended = f"; the one before: {now.exit}" if now is not None else ""
        return [Entry(
            self.board.short(line.instance), "cockpit", f"run {line.run} begins{ended}", time=line.time,
            colour=self._colours.get(line.instance, 0),
        )]  # fmt: skip

    def _remark_line(self, words: str) -> None:
        self._pending.append(Entry("", "cockpit", words, time=self._seam.newest))

    def _flush(self) -> None:
        self.log_list.zero = self.board.now
        if self._pending:
            lines, self._pending = self._pending, []
            self.log_list.add(lines)
            if self.log_list.complaint:
                self.say(self.log_list.complaint)
                self.log_list.complaint = ""
            self.show_title()

    def sync(self, changed: Changed) -> None:
        self.show_title()

    def show_title(self) -> None:
        log = self.log_list
        wanted = self.instances()
        name = ", ".join(self.board.short(n) for n in wanted[:3])
        if len(wanted) > 3:
            name += f" and {len(wanted) - 3} more"
        pieces: list[Piece] = [(" LOG ", "strong"), (name, "text")]
        if self.ended:
            pieces.append((f"   {self.look.text(self.ended)}", "unknown"))
        elif log.following:
            words = "following" if log.entries else f"waiting for the first line{self.look.sign('more')}"
            pieces.append((f"   {words}", "changing"))
        else:
            pieces += [
                ("   standing still", "paused"),
                (f", {log.missed} new below" if log.missed else "", "changing"),
            ]
        if self.dropped:
            pieces.append((f"   {self.look.glyph('drift')} {self.dropped:,} dropped", "drift"))
        if log.sieve:
            pieces += [(f"   &{log.sieve.text}", "strong"), (f"  {log.passed} of {len(log.entries)}", "muted")]
        else:
            pieces.append((f"   {plural(len(log.entries), 'line')}", "muted"))
        if log.mark:
            pieces.append((f"   /{log.mark.text}", "strong"))
        for words in (
            f"on hosts: {self.on_hosts}" if self.on_hosts else "", f"since {self.window}" if self.window else "",
            f"run {self.previous} before the newest" if self.previous else "", self.stream,
            f"context {log.context}" if log.context else "",
            f"times {zone(self.board.now)}" if log.timed and log.times == "time" else "",
        ):
            if words:
                pieces.append((f"   {self.look.text(words)}", "muted" if words.startswith("times") else "strong"))
        if len(wanted) > MOST:
            pieces.append((f"   only the first {MOST} instances", "drift"))
        self.title_bar.show([pieces])

    def aim(self) -> Aim:
        return Aim(INSTANCE, tuple(self.names))

    # typing

    def action_type(self, kind: str) -> None:
        log = self.log_list
        self._before = {
            "find": log.mark.text, "sieve": log.sieve.text, "window": self.window, "hosts": self.on_hosts,
            "save": "",
        }[kind]  # fmt: skip
        text = self._before
        if kind == "save":
            name = self.board.short(self.names[0]).replace("/", "-") if self.names else "all"
            text = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
        self.begin_field(kind, text)

    def action_filter(self) -> None:
        self.action_type("sieve")

    def filter_text(self) -> str:
        """What Esc takes away before it leaves."""
        log = self.log_list
        return log.sieve.text or log.mark.text

    def set_filter(self, text: str) -> None:
        log = self.log_list
        if log.sieve or text:
            self._try("sieve", text)
        else:
            self._try("find", "")

    def field_sign(self) -> str:
        return SIGNS.get(self._field_kind, "")

    def field_note(self) -> str:
        if self.field is None or self._field_kind not in SIGNS:
            return super().field_note()
        log = self.log_list
        match self._field_kind:
            case "sieve":
                return f"{log.passed} of {len(log.entries)}   Enter keep   Esc as before"
            case "find":
                return "Enter, then n and N   Esc as before"
            case "window":
                return "Tab: " + " ".join(WINDOWS) + "   or 14:00, 14:00 - 14:10"
            case "hosts":
                return "text, !text, /regex/   empty: everything   Enter go"
        return "a new file, for you only   Enter save   Esc no"

    def typed(self) -> None:
        if self.field is not None and self._field_kind in ("find", "sieve"):
            self._try(self._field_kind, self.field.text, quiet=True)
        super().typed()

    async def take_key(self, event: events.Key) -> bool:
        if self.field is not None and self._field_kind == "window" and event.key == "tab":
            at = WINDOWS.index(self.field.text) + 1 if self.field.text in WINDOWS else 0
            self.field.set(WINDOWS[at % len(WINDOWS)])
            self.show_bottom()
            return True
        return await super().take_key(event)

    async def end_field(self, keep: bool) -> None:
        kind, field = self._field_kind, self.field
        if kind not in SIGNS or field is None:
            await super().end_field(keep)
            return
        self.field = None
        text = field.text
        self.show_bottom()
        if kind in ("find", "sieve"):
            self._try(kind, text if keep else self._before)
            if keep and kind == "find" and text:
                self._to_first()
        elif keep and kind == "save":
            await self._save(text)
        elif keep and kind in ("window", "hosts"):
            try:
                window(text if kind == "window" else "", time.time())
                sought(text)
            except Wrong as error:
                self.say(f"{error}. Nothing was changed.")
                return
            if kind == "window":
                self.window = "" if text.strip() == "all" else text.strip()
            else:
                self.on_hosts = text
            self._read_anew()

    def _try(self, kind: str, text: str, quiet: bool = False) -> None:
        try:
            (self.log_list.filter if kind == "sieve" else self.log_list.highlight)(text)
        except Wrong as error:
            if not quiet:
                self.say(f"{error}. Nothing was changed.")
        self.show_title()

    async def _save(self, typed: str) -> None:
        lines = self.log_list.text_lines()
        if not typed.strip():
            self.say("No name was typed; nothing was saved.", "paused")
            return
        try:
            path = await asyncio.to_thread(save_new, typed, "\n".join(lines) + "\n" if lines else "")
        except OSError as error:
            self.say(str(error), "failed")
            return
        self.say(f"Saved {plural(len(lines), 'line')} to {path}; only you can read it.", "ok")

    # keys

    def _to_first(self) -> None:
        """Enter behind / goes down, and up when there is nothing below."""
        log = self.log_list
        try:
            if not (log.seek(1) or log.seek(-1)):
                self.say(f"No line has {log.mark.text}.", "paused")
        except Wrong as error:
            self.say(f"{error}.")
        self.show_title()

    def action_next(self, way: int) -> None:
        log = self.log_list
        if not log.mark:
            self.say("Nothing is highlighted: type <logs.find> and a text first.", "paused")
            return
        try:
            if not log.seek(way):
                self.say(f"No {'more' if way > 0 else 'earlier'} line with {log.mark.text}.", "paused")
        except Wrong as error:
            self.say(f"{error}.")
        self.show_title()

    def action_follow(self) -> None:
        self.log_list.follow(not self.log_list.following)
        self.show_title()

    def action_context(self, way: int) -> None:
        log = self.log_list
        log.surround(max(0, min(50, log.context + way)))
        if self.on_hosts:
            self._read_anew()
        elif not log.sieve:
            self.say(f"{plural(log.context, 'line')} around each that a filter (&) or a search (H) shows.", "paused")
        self.show_title()

    def action_stamp(self) -> None:
        log = self.log_list
        log.zero = self.board.now
        log.stamp(TIMES[(TIMES.index(log.times) + 1) % len(TIMES)])
        self.show_title()

    def action_wide(self) -> None:
        self.log_list.wrap(not self.log_list.wrapped)

    def action_previous(self) -> None:
        self.previous += 1
        self._read_anew()

    def action_newest(self) -> None:
        if self.previous:
            self.previous = 0
            self._read_anew()

    def action_sort(self, turn: bool = False) -> None:
        self.action_stream()

    def action_stream(self) -> None:
        kinds = ["", "stdout", "stderr", *(s for s in self.seen_streams if s not in ("stdout", "stderr"))]
        self.stream = kinds[(kinds.index(self.stream) + 1) % len(kinds)] if self.stream in kinds else ""
        self._read_anew()

    def action_copy(self) -> None:
        lines = self.log_list.text_lines()
        fit, length = last_that_fit(lines, COPIED)
        if not fit:
            self.say("The last line is too long to be copied." if lines else "There is nothing to copy.", "paused")
            return
        self.app.copy_to_clipboard("\n".join(fit) + "\n")
        more = len(lines) - len(fit)
        left = f"; {more:,} older ones did not fit: <logs.save> saves all" if more else ""
        self.say(f"Sent {plural(len(fit), 'line')} ({size(length)}) to your terminal's clipboard{left}.", "ok")

    def action_move(self, how: str) -> None:
        super().action_move(how)
        self.show_title()

    def hint_label(self, id: str, label: str) -> str:
        if id == "logs.follow":
            return "stand still" if self.log_list.following else "follow"
        return {"side.right": "scroll", "move.end": "last"}.get(id, label)
