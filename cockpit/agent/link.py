"""The agent's end of the link: a channel over mutual TLS, dialled from here, for ever.

Which way and transport comes next is `cockpit.link.ways`' to say; here it is done.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from cockpit.agent.files import read_json, write_json
from cockpit.agent.identity import Identity, origin
from cockpit.agent.outbox import EVERYTHING, Outbox, Overflow
from cockpit.agent.waiting import within
from cockpit.link.channel import TRANSPORTS, ChannelClosed, DialledChannel
from cockpit.link.dial import dial
from cockpit.link.frames import Frame, ProtocolError, decode, encode
from cockpit.link.proxy import BadProxy, Unreachable, proxy_address
from cockpit.link.ways import BROKEN, SILENCE, SILENT, UNREACHABLE, WELCOME_TIME, Chooser, Pair, pause

__all__ = ["EVERYTHING", "Link", "Outbox", "Overflow", "Owner", "pause"]

LOOK = 3.0
"""Seconds between two looks whether a better pair could be tried."""
LONGEST_FRAME = 60.0
"""Seconds that one frame may take to come in."""
MAX_WAYS = 64


class Refused(Exception):
    """The other side does not want this host; the text says why."""


class Silence(ConnectionError):
    """The connection stands and nothing comes."""


FAILURES = (OSError, ProtocolError, Overflow, Refused, asyncio.TimeoutError, EOFError, ValueError)


class Owner:
    """What the link asks of the agent."""

    def hello(self) -> Frame:
        raise NotImplementedError

    def source(self) -> str:
        """The local address to connect from; empty: the kernel chooses."""
        raise NotImplementedError

    def facts(self) -> Dict[str, Any]:
        """What is kept of the last welcome; `ways`, `transports` and `proxy` are looked at."""
        return {}

    def busy(self) -> bool:
        """Does something run that belongs to the present connection? Then it is not left for a better one."""
        return False

    def welcome(self, frame: Frame) -> None:
        raise NotImplementedError

    async def everything(self) -> List[Frame]:
        """The full set, then all unacknowledged events."""
        raise NotImplementedError

    def frame(self, frame: Frame) -> None:
        """Any frame but pings and refusals; unknown ones are to be left alone."""
        raise NotImplementedError

    def disconnected(self) -> None:
        raise NotImplementedError


class Standing(NamedTuple):
    """A link that was welcomed."""

    pair: Pair
    channel: DialledChannel
    welcome: Frame


class Link:
    """Connects, again and again; `run` never returns."""

    def __init__(self, identity: Identity, owner: Owner, outbox: Outbox) -> None:
        self.connected = False
        self.pair: Optional[Pair] = None
        """Where the link stands, or stood last."""
        self._identity = identity
        self._owner = owner
        self._outbox = outbox
        self._said = ""
        self._memory = os.path.join(os.path.dirname(identity.dir.rstrip("/")), "link.json")
        self._facts: Dict[str, Any] = {}
        self._heard = 0.0
        self._greeted = False
        self._beside = False
        """Is one tried beside the standing link, and has it said hello (`_greeted`)?"""

    async def run(self) -> None:
        self._facts = dict(self._owner.facts())
        ways, transports = self._routes()
        chooser = self._chooser = Chooser(ways, transports, last=_remembered(self._memory))
        following: Optional[Standing] = None
        while True:
            pair, wait = chooser.attempt()
            if following is None:
                await asyncio.sleep(wait)
            else:
                pair = following.pair
            try:
                standing = following or await self._open(pair)
                following = None
                following = await self._stand(standing)
            except FAILURES as e:
                self._say(f"{pair.way} ({pair.transport}): {_why(e)}")
                if isinstance(e, Refused):
                    chooser.refused(pair, time.monotonic())
                else:
                    chooser.failed(pair, self._how(e), time.monotonic())
            finally:
                if self.connected:
                    self.connected = False
                    self._outbox.clear(open=False)
                    self._owner.disconnected()

    def again(self) -> None:
        """Tell everything anew on the present connection (the keeper is another one now)."""
        self._outbox.put(EVERYTHING)

    # one link

    async def _open(self, pair: Pair) -> Standing:
        """Dial, say hello, and be welcomed, in WELCOME_TIME from the moment a connection is taken.

        Raises FAILURES.
        """
        taken = asyncio.Event()
        work = asyncio.ensure_future(self._greet(pair, taken.set))
        waiting = asyncio.ensure_future(taken.wait())
        try:
            await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
            return await within(work, WELCOME_TIME)
        except asyncio.TimeoutError:
            raise Silence(f"no welcome within {WELCOME_TIME:g} s") from None
        finally:
            for task in (work, waiting):
                task.cancel()
            await asyncio.gather(work, waiting, return_exceptions=True)

    async def _greet(self, pair: Pair, taken: Callable[[], None]) -> Standing:
        self._greeted = False
        channel = await dial(
            pair.way, context=self._identity.context(), transport=pair.transport, cluster=self._identity.cluster,
            proxy=str(self._facts.get("proxy") or ""), address=self._owner.source(), connected=taken,
        )  # fmt: skip
        try:
            self._greeted = True
            await channel.send(encode({**self._owner.hello(), "transport": channel.kind}))
            welcome = decode(await channel.recv())
            if welcome["t"] == "refused":
                raise Refused(str(welcome.get("why") or "no reason given")[:500])
            if welcome["t"] != "welcome":
                raise ProtocolError(f"welcome was expected, not {welcome['t']}")
            return Standing(pair, channel, welcome)
        except BaseException:
            channel.abort()
            raise

    async def _stand(self, link: Standing) -> Optional[Standing]:
        """Until it ends, which raises FAILURES, or until a better one stands, which is returned."""
        try:
            self._learn(link)
            self._owner.welcome(link.welcome)
            self._outbox.clear(open=True)
            self.connected = True
            self.pair = link.pair
            self._say(f"connected to {link.pair.way} ({link.pair.transport})")
            return await self._serve(link)
        finally:
            link.channel.abort()

    async def _serve(self, link: Standing) -> Optional[Standing]:
        self._heard = time.monotonic()
        channel = link.channel
        better = asyncio.ensure_future(self._better())
        tasks = [asyncio.ensure_future(work) for work in (
            self._send(channel), self._receive(channel), self._listen(channel),
        )]  # fmt: skip
        try:
            done, _ = await asyncio.wait([*tasks, better], return_when=asyncio.FIRST_COMPLETED)
            if better not in done and self._beside and self._greeted and done:
                # whoever we said hello to elsewhere may have ended this one: its welcome is on the way
                await asyncio.wait({better}, timeout=WELCOME_TIME)
            if better.done():
                return better.result()
            for task in done:
                task.result()
            return None
        finally:
            for each in [*tasks, better]:
                each.cancel()
            await asyncio.gather(*tasks, better, return_exceptions=True)

    async def _better(self) -> Standing:
        """Look now and then for a better pair, and open it beside the link that stands."""
        while True:
            await asyncio.sleep(LOOK)
            pair = self._chooser.better(time.monotonic())
            if pair is None or self._owner.busy():
                continue
            self._beside = True
            try:
                found = await self._open(pair)
                self._say(f"{pair.way} ({pair.transport}) answers again: moving there")
                return found
            except FAILURES as e:
                how = UNREACHABLE if isinstance(e, (Unreachable, BadProxy)) else SILENT
                self._chooser.not_better(pair, how, time.monotonic())
            finally:
                self._beside = False

    async def _send(self, channel: DialledChannel) -> None:
        frame = EVERYTHING
        while True:
            frames = await self._owner.everything() if frame is EVERYTHING else [frame]
            for each in frames:
                await channel.send(encode(each))
            frame = await self._outbox.take()

    async def _receive(self, channel: DialledChannel) -> None:
        while True:
            frame = decode(await channel.recv())
            self._heard = time.monotonic()
            if frame["t"] == "ping":
                self._outbox.put({"t": "pong", "at": frame.get("at", 0.0)})
                continue
            if frame["t"] == "refused":
                raise Refused(str(frame.get("why") or "no reason given")[:500])
            try:
                self._owner.frame(frame)
            except (KeyError, TypeError, ValueError) as e:
                raise ProtocolError(f"frame {frame['t']}: {type(e).__name__}: {e}") from None

    async def _listen(self, channel: DialledChannel) -> None:
        """Raises Silence when nothing came for SILENCE; a long frame that is coming in is not silence."""
        while True:
            silent = time.monotonic() - self._heard
            if silent >= SILENCE:
                if channel.quiet() >= SILENCE or silent >= LONGEST_FRAME:
                    raise Silence(f"nothing heard for {silent:.1f} s")
                silent = SILENCE - 0.5
            await asyncio.sleep(max(0.1, SILENCE - silent))

    # ways

    def _routes(self) -> Tuple[List[str], Sequence[str]]:
        """(ways, transports): what the last welcome said, then the controllers this host joined."""
        given, order = self._facts.get("ways"), self._facts.get("transports")
        ways = [*_urls(given), *_urls(self._identity.controllers)]
        transports = [t for t in order if t in TRANSPORTS] if isinstance(order, list) else []
        return list(dict.fromkeys(ways)), transports or TRANSPORTS

    def _learn(self, link: Standing) -> None:
        for name in ("ways", "transports", "proxy"):
            if name in link.welcome:
                self._facts[name] = link.welcome[name]
        self._facts["proxy"] = _proxy(self._facts.get("proxy"))
        ways, transports = self._routes()
        self._chooser.update(ways, transports)
        self._chooser.welcomed(link.pair, time.monotonic())
        if _remembered(self._memory) != link.pair:
            try:
                write_json(self._memory, {"way": link.pair.way, "transport": link.pair.transport}, sync=False)
            except OSError as e:  # a full disk does not keep a host from its controller
                self._say(f"{self._memory}: {e.strerror}")

    def _how(self, e: BaseException) -> str:
        if isinstance(e, (Unreachable, BadProxy)):
            return UNREACHABLE
        return BROKEN if self.connected and not isinstance(e, Silence) else SILENT

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            print(f"{time.strftime('%H:%M:%S')} link: {text}", file=sys.stderr, flush=True)


def _urls(given: Any) -> List[str]:
    """Those of a list that are URLs of a controller or relay, in their one form."""
    found = []
    for url in given[:MAX_WAYS] if isinstance(given, list) else []:
        try:
            found.append(origin(url))
        except (AttributeError, TypeError, ValueError):
            continue
    return found


def _proxy(given: Any) -> str:
    """What a welcome says, if it is the URL of a proxy; one that is not would end all links."""
    try:
        if isinstance(given, str) and given:
            proxy_address(given)
            return given
    except BadProxy:
        pass
    return ""


def _remembered(path: str) -> Optional[Pair]:
    doc = read_json(path, limit=4096)
    try:
        return Pair(str(doc["way"]), str(doc["transport"])) if doc is not None else None
    except (KeyError, TypeError):
        return None


def _why(e: BaseException) -> str:
    if isinstance(e, ssl.SSLError):
        return f"TLS: {e.reason or e}"
    if isinstance(e, Refused):
        return f"refused: {e}"
    if isinstance(e, ChannelClosed):
        return str(e)
    if isinstance(e, asyncio.TimeoutError):
        return "no answer"
    return getattr(e, "strerror", None) or str(e) or type(e).__name__
