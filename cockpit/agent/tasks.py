"""Commands by task id: answered once, remembered, one at a time per unit."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Awaitable, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

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
    """Runs the words of `cmd` frames; `send` gets result and progress frames.

    While one agent follows another, `handed` of the old one goes to `adopt` of the new one: what the old one
    answered is answered here too, and what it still runs is not begun a second time, nor is anything with the
    same key (the same unit) until it is over there.
    """

    def __init__(self, uuid: str, words: Mapping[str, Word], send: Callable[[Frame], None]) -> None:
        self._uuid = uuid
        self._words = words
        self._send = send
        self._answers: "OrderedDict[str, Frame]" = OrderedDict()
        self._running: Dict[str, "asyncio.Task[None]"] = {}
        self._locks: Dict[str, asyncio.Lock] = {}
        self._users: Dict[str, int] = {}
        self._what: Dict[str, Tuple[str, Optional[str]]] = {}
        """Running task -> its word and key."""
        self._elsewhere: Dict[str, Tuple[str, Optional[str]]] = {}
        """The same of tasks that another agent of this host runs."""
        self._asked: Dict[str, Frame] = {}
        """Commands that were repeated here meanwhile."""
        self._moved = asyncio.Event()
        self.answered: Callable[[Frame], None] = lambda answer: None
        """Is told of each answer before it is sent."""

    @property
    def running(self) -> List[str]:
        return list(self._running)

    def handed(self) -> Dict[str, Any]:
        """What the next agent of this host has to know."""
        running = {t: [w, k] for t, (w, k) in self._what.items() if w not in OBSERVING}
        return {"answers": list(self._answers.values()), "running": {**running, **self._elsewhere}}

    def adopt(self, answers: Iterable[Frame], running: Mapping[str, Any]) -> None:
        """Of the agent before this one. May be repeated while that one goes on."""
        for answer in answers:
            task = str(answer["task"])
            self._answers.setdefault(task, answer)
            self._elsewhere.pop(task, None)
            if self._asked.pop(task, None) is not None:
                self._send(answer)
        for task, (word, key) in running.items():
            if task not in self._answers and task not in self._running:
                self._elsewhere[str(task)] = (str(word), key if isinstance(key, str) else None)
        self._change()

    def elsewhere(self) -> Dict[str, str]:
        """Task -> word of what the agent before this one has not answered yet."""
        return {task: word for task, (word, _) in self._elsewhere.items()}

    def orphaned(self, own: Mapping[str, Frame]) -> None:
        """The agent before this one is gone. `own`: answers that are given in its place; what was
        asked here too begins here, now."""
        self.adopt(own.values(), {})
        asked, self._asked, self._elsewhere = self._asked, {}, {}
        self._change()
        for frame in asked.values():
            self.take(frame)

    def _change(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

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
        if task in self._elsewhere:
            self._asked[task] = frame
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
        args = args if isinstance(args, dict) else {}
        key = None if getattr(self._words.get(word), "parallel", False) else _key(word, args)
        self._what[task] = (word, key)
        try:
            answer = await self._answer(task, frame, word, args)
        finally:
            self._running.pop(task, None)
            self._what.pop(task, None)
        if word not in OBSERVING and not getattr(self._words.get(word), "observing", False):
            self._answers[task] = answer
            while len(self._answers) > MEMORY:
                self._answers.popitem(last=False)
            self.answered(answer)
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
        key = None if getattr(handler, "parallel", False) else _key(word, args)
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
                while any(key == other for _, other in self._elsewhere.values()):
                    await self._moved.wait()
                return await handler(args, progress)
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


def _key(word: str, args: Mapping[str, Any]) -> Optional[str]:
    if word in OBSERVING or word in ("end", "signal"):  # a stop that hangs is when a KILL is wanted
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
