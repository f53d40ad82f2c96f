"""A channel over HTTP/2: one `POST /link` whose two directions stay open. Both halves, on the `h2` library.

A frame is its length (4 bytes, big-endian) and its UTF-8 text, cut into DATA as flow control allows. The
window is given back when nothing waits to be read, so that what an end holds is bounded: one window of
whole frames and one frame that is coming in.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from cockpit.link.channel import CLOSE_TIME, HTTP2, ChannelClosed, cut
from cockpit.link.frames import MAX_FRAME

CONTENT_TYPE = "application/x-cockpit"
WINDOW = 512 * 1024
"""Bytes on their way to one end: at 200 ms of round trip that is 2.5 MB a second."""
MAX_STREAMS = 4
MAX_REQUESTS = 16
"""Streams that a client may open in the life of a connection. One is needed."""
MAX_CONTROL = 512
"""Events without data that may come while no frame moves: pings, settings, resets, windows."""
MAX_UNSENT = 1024 * 1024
"""Bytes of answers to control frames that may wait for a client that does not read."""
MAX_HEADERS = 8 * 1024
GOODBYE = 0.2


class Http2(asyncio.Protocol):
    """One connection, and its channel.

    The listening half: `opened` is called with the channel when the link's stream was asked for; None means
    that the other side has no certificate, and every stream is refused with 403. The dialling half
    (`dialled`) opens the stream itself.
    """

    kind = HTTP2

    def __init__(self, opened: Optional[Callable[["Http2"], None]] = None, *, dials: str = "") -> None:
        """`dials`: the authority (`HOST:PORT`) to ask for a link; empty: this is the listening half."""
        self.peercert: Dict[str, Any] = {}
        self._opened = opened
        self._dials = dials
        self._h2 = H2Connection(
            H2Configuration(client_side=bool(dials), header_encoding=None)
        )
        self._transport: Optional[asyncio.Transport] = None
        self._stream = 0
        self._answered: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._frames: Deque[bytes] = deque()
        self._owed = 0
        """Bytes that were received and for which no window was given back yet."""
        self._requests = 0
        self._control = 0
        self._why = ""
        self._reader: "Optional[asyncio.Future[None]]" = None
        self._writer: "Optional[asyncio.Future[None]]" = None
        self._paused = False
        self._heard = time.monotonic()
        self._gone: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()

    # the channel

    @property
    def ended(self) -> bool:
        return bool(self._why)

    async def send(self, text: str) -> None:
        data = text.encode()
        data = len(data).to_bytes(4, "big") + data
        at = 0
        try:
            while at < len(data):
                at += await self._some(data, at)
            while self._paused:
                await self._writable()
        except asyncio.CancelledError:
            if 0 < at < len(data):  # half a frame is out: nothing can follow it
                self._end("a frame was given up in the middle")
            raise

    async def recv(self) -> str:
        while not self._frames:
            if self._why:
                raise ChannelClosed(self._why)
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = self._frames.popleft()
        if not self._frames:
            self._give_back()
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._end("a frame is not UTF-8")
            raise ChannelClosed(self._why) from None

    def quiet(self) -> float:
        return time.monotonic() - self._heard

    def abort(self) -> None:
        self._end("cut off")

    async def close(self) -> None:
        if not self._why and self._transport is not None:
            try:
                self._h2.end_stream(self._stream)
                self._h2.close_connection()
                self._flush()
            except H2Error:
                pass
            self._transport.close()
            await asyncio.wait({self._gone}, timeout=CLOSE_TIME)
        self._end("closed")

    async def dialled(self) -> None:
        """Wait until the other side has taken the stream. Raises ChannelClosed."""
        await asyncio.shield(self._answered)

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peercert = transport.get_extra_info("peercert") or {}
        settings: Dict[SettingCodes, int] = {
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS,
            SettingCodes.MAX_CONCURRENT_STREAMS: 0 if self._dials else MAX_STREAMS,
        }
        if self._dials:
            settings[SettingCodes.ENABLE_PUSH] = 0
        self._h2.local_settings = Settings(client=bool(self._dials), initial_values=settings)
        self._h2.decoder.max_header_list_size = MAX_HEADERS
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW - 65_535)
        if self._dials:
            self._stream = self._h2.get_next_available_stream_id()
            headers = [
                (":method", "POST"), (":scheme", "https"), (":authority", self._dials), (":path", "/link"),
                ("content-type", CONTENT_TYPE),
            ]
            self._h2.send_headers(self._stream, headers)
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._why:
            return
        self._heard = time.monotonic()
        try:
            events: List[Event] = self._h2.receive_data(data)
            for event in events:
                if not isinstance(event, DataReceived) or not event.data:
                    self._control += 1
                if not self.ended:
                    self._take(event)
        except H2Error as e:
            self._end(f"HTTP/2: {e or type(e).__name__}", polite=True)
            return
        if self._control > MAX_CONTROL:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end("too many HTTP/2 control frames", polite=True)
            return
        self._flush()
        if self._transport is not None and self._transport.get_write_buffer_size() > MAX_UNSENT + 2 * WINDOW:
            self._end("it does not read the answers to its control frames")

    def eof_received(self) -> bool:
        self._end("connection closed")
        return False

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._end("connection closed" if exc is None else f"connection failed: {exc}")
        self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake_writer()

    # inside

    def _take(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._data(event)
        elif isinstance(event, WindowUpdated):
            self._wake_writer()
        elif isinstance(event, RequestReceived):
            self._request(event)
        elif isinstance(event, ResponseReceived):
            self._response(event)
        elif isinstance(event, (StreamEnded, StreamReset)) and event.stream_id == self._stream:
            self._end("the other side ended the stream", polite=True)
        elif isinstance(event, ConnectionTerminated):
            self._end("the other side ended the connection", polite=True)
        else:  # settings may have changed the window
            self._wake_writer()

    def _data(self, event: DataReceived) -> None:
        length = event.flow_controlled_length or 0
        if event.stream_id != self._stream or not self._stream:  # of a refused stream
            if length:
                self._h2.acknowledge_received_data(length, event.stream_id or 0)
            return
        self._owed += length
        self._buffer += event.data or b""
        at = 0
        while len(self._buffer) - at >= 4:
            size = int.from_bytes(self._buffer[at : at + 4], "big")
            if not 0 < size <= MAX_FRAME:
                self._end(f"a frame of {size} bytes: 1 to {MAX_FRAME} are allowed", polite=True)
                return
            if len(self._buffer) - at - 4 < size:
                break
            self._frames.append(bytes(self._buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        if at:
            del self._buffer[:at]
            self._control = 0
        if self._frames:
            self._wake_reader()
        else:
            self._give_back()

    def _request(self, event: RequestReceived) -> None:
        self._requests += 1
        stream = event.stream_id or 0
        headers = dict(event.headers or ())
        asked = (headers.get(b":method"), headers.get(b":path"), headers.get(b"content-type"))
        fits = asked == (b"POST", b"/link", CONTENT_TYPE.encode())
        if self._requests > MAX_REQUESTS:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end("too many HTTP/2 streams", polite=True)
        elif not fits or self._opened is None or self._stream:
            status = "404" if not fits else "403" if self._opened is None else "409"
            self._h2.send_headers(stream, [(":status", status), ("content-length", "0")], end_stream=True)
            if event.stream_ended is None:
                self._h2.reset_stream(stream, ErrorCodes.NO_ERROR)
        else:
            self._stream = stream
            self._h2.send_headers(stream, [(":status", "200"), ("content-type", CONTENT_TYPE)])
            self._opened(self)

    def _response(self, event: ResponseReceived) -> None:
        status = dict(event.headers or ()).get(b":status", b"").decode("latin-1")
        if status != "200":
            self._end(f"the other side refuses a link over HTTP/2: status {status}", polite=True)
        elif not self._answered.done():
            self._answered.set_result(None)

    async def _some(self, data: bytes, at: int) -> int:
        """Hand over what fits into the window now; how many bytes that were."""
        while True:
            if self._why or self._transport is None:
                raise ChannelClosed(self._why or "not connected")
            try:
                size = self._h2.local_flow_control_window(self._stream)
                if size > 0 and not self._paused:
                    size = min(size, self._h2.max_outbound_frame_size, len(data) - at)
                    self._h2.send_data(self._stream, data[at : at + size])
                    self._flush()
                    self._control = 0
                    return size
            except H2Error as e:
                self._end(f"HTTP/2: {e}")
                raise ChannelClosed(self._why) from None
            await self._writable()

    async def _writable(self) -> None:
        if self._why:
            raise ChannelClosed(self._why)
        self._writer = asyncio.get_running_loop().create_future()
        await self._writer

    def _give_back(self) -> None:
        if self._owed and not self._why:
            owed, self._owed = self._owed, 0
            try:
                self._h2.acknowledge_received_data(owed, self._stream)
            except H2Error as e:  # the stream has just ended
                self._end(f"HTTP/2: {e}")
                return
            self._flush()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writer(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _end(self, why: str, polite: bool = False) -> None:
        """Nothing is sent any more; frames that have come can still be read."""
        if not self._why:
            self._why = why
            self._buffer.clear()
            if not self._answered.done():
                self._answered.set_exception(ChannelClosed(why))
                self._answered.exception()  # seen: nobody may be waiting
            self._wake_reader()
            self._wake_writer()
            if polite and self._transport is not None:
                self._flush()
                loop = asyncio.get_running_loop()
                loop.call_soon(self._transport.close)  # not from within what TLS is delivering
                loop.call_later(GOODBYE, self._cut)
                return
        if not polite:
            self._cut()

    def _cut(self) -> None:
        if self._transport is not None:
            cut(self._transport)


async def open_http2(
    sock: Any, context: ssl.SSLContext, authority: str, server_name: Optional[str]
) -> Http2:
    """The dialling half on a connected socket, which is ours from now on.

    Raises OSError (TLS too), ChannelClosed.
    """
    context.set_alpn_protocols(["h2"])
    made: Tuple[asyncio.BaseTransport, Http2] = await asyncio.get_running_loop().create_connection(
        lambda: Http2(dials=authority), sock=sock, ssl=context, server_hostname=server_name
    )
    transport, channel = made
    try:
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            raise ChannelClosed("the other side does not speak HTTP/2")
        await channel.dialled()
    except BaseException:
        channel.abort()
        raise
    return channel
