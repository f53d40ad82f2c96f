"""Commands by task id: answered once, remembered, one at a time per unit."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Awaitable, Callable, Dict, Mapping, Optional

from cockpit.link.frames import Frame

MEMORY = 1000
MAX_RUNNING = 512
OBSERVING = frozenset({"logs", "unlog", "tail", "head-get"})
"""Words that change nothing: a repeated task id does them again instead of keeping large answers."""

Data = Dict[str, Any]
Progress = Callable[[Data], None]
Word = Callable[[Mapping[str, Any], Progress], Awaitable[Data]]


class CommandError(Exception):
    """`code`: bad, uuid, missing, exists, busy, port, altered, exec, digest, none, unreachable, failed."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Tasks:
    """Runs the words of `cmd` frames; `send` gets result and progress frames."""

    def __init__(self, uuid: str, words: Mapping[str, Word], send: Callable[[Frame], None]) -> None:
        self._uuid = uuid
        self._words = words
        self._send = send
        self._answers: "OrderedDict[str, Frame]" = OrderedDict()
        self._running: Dict[str, "asyncio.Task[None]"] = {}
        self._locks: Dict[str, asyncio.Lock] = {}
        self._users: Dict[str, int] = {}

    def take(self, frame: Frame) -> None:
        """A `cmd` frame. Its answer is sent now, or when it ends."""
        task = frame.get("task")
        if not isinstance(task, str) or not 0 < len(task) <= 500:
            return  # nobody could be answered
        known = self._answers.get(task)
        if known is not None:
            self._send(known)
            return
        if task in self._running:
            return
        if len(self._running) >= MAX_RUNNING:
            self._send(_error(task, "busy", f"{MAX_RUNNING} commands are running on this host"))
            return
        self._running[task] = asyncio.ensure_future(self._run(task, frame))

    async def stop(self) -> None:
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, task: str, frame: Frame) -> None:
        word, args = str(frame.get("word", "")), frame.get("args")
        try:
            answer = await self._answer(task, frame, word, args if isinstance(args, dict) else {})
        except asyncio.CancelledError:
            self._running.pop(task, None)
            raise
        self._running.pop(task, None)
        if word not in OBSERVING:
            self._answers[task] = answer
            while len(self._answers) > MEMORY:
                self._answers.popitem(last=False)
        self._send(answer)

    async def _answer(self, task: str, frame: Frame, word: str, args: Data) -> Frame:
        def progress(data: Data) -> None:
            self._send({"t": "progress", "task": task, "data": data})

        if frame.get("uuid") != self._uuid:
            return _error(task, "uuid", "this command is for another host: the UUID differs")
        handler = self._words.get(word)
        if handler is None:
            known = ", ".join(sorted(self._words))
            return _error(task, "bad", f"no command {word!r:.40}; known are {known}")
        key = _key(word, args)
        try:
            if key is None:
                data = await handler(args, progress)
            else:
                data = await self._alone(key, handler, args, progress)
            return {"t": "result", "task": task, "ok": True, "data": data}
        except CommandError as e:
            return _error(task, e.code, e.text)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            return _error(task, "bad", f"{word}: {type(e).__name__}: {e}")
        except Exception as e:  # whatever it is, whoever asked must hear of it
            return _error(task, "failed", f"{word}: {e or type(e).__name__}")

    async def _alone(self, key: str, handler: Word, args: Data, progress: Progress) -> Data:
        """Commands with the same key run one after the other, in the order they came."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with lock:
                return await handler(args, progress)
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


def _key(word: str, args: Mapping[str, Any]) -> Optional[str]:
    if word in OBSERVING or word == "end":
        return None
    if word == "fetch":
        return f"release {args.get('name')}/{args.get('version')}"
    if word == "prepare":
        spec = args.get("spec")
        return f"unit {spec.get('unit') if isinstance(spec, dict) else ''}"
    if word in ("build", "unbuild"):
        return f"{word} {args.get('build')}"
    return f"unit {args['unit']}" if "unit" in args else word


def _error(task: str, code: str, text: str) -> Frame:
    return {"t": "result", "task": task, "ok": False, "code": code, "text": text}
