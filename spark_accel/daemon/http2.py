"""A connection of the gRPC server: bytes of a socket become calls, answers become bytes.

The protocol is nghttp2's, by ngh2, and so are the limits on resets, settings, header blocks and acknowledgements. Here
is what one connection may hold of the daemon's memory: how many streams, how much unread data of each. What a stream
means is `grpc_calls.py`'s.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import ngh2

from spark_accel.daemon.grpc_messages import Header

_STREAMS = 1024  # that a client may have open; more wait on its side
_STREAM_WINDOW = 4 * 2**20  # bytes of one stream that may be on their way or unread
_MAX_WINDOW = 2**31 - 1  # for a connection: streams must not wait for each other
_FRAME = 2**20  # bytes of data that the client may send in one piece
READ = 2**16  # bytes that are taken from a socket at once
_WRITE = 2**20  # bytes that are given to it at once
_UNSENT = 2**16  # bytes of a stream's answers that may wait to be sent before its sender does
_SETTINGS = {
    ngh2.Setting.MAX_CONCURRENT_STREAMS: _STREAMS,
    ngh2.Setting.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
    ngh2.Setting.MAX_FRAME_SIZE: _FRAME,
}
_CONFIGURATION = ngh2.Configuration(auto_window_update=False)


class Stream(Protocol):
    """What a connection tells of one stream."""

    def begun(self) -> None:
        """It can be answered now."""

    def received(self, data: bytes) -> None:
        """Bytes of the request; `Connection.consumed` makes room for more."""

    def ended(self) -> None:
        """The request is complete."""

    def closed(self) -> None:
        """The stream has ended, or the client or the connection has broken it off. Nothing follows."""

    def end(self) -> None:
        """The server ends: answer now."""


Accept = Callable[["Connection", int, Sequence[Header]], Stream]


class Connection(asyncio.BufferedProtocol):
    """One client. `accept(connection, stream, headers)` gives what takes the stream that has begun.

    All connections of an event loop may read into one `buffer` of `READ` bytes: what is read is taken out at once.
    """

    def __init__(self, accept: Accept, known: "set[Connection]", buffer: memoryview) -> None:
        self._accept = accept
        self._known = known
        self._streams: dict[int, Stream] = {}
        self._senders: dict[int, asyncio.Future[None]] = {}  # that wait until their data is on its way
        self._buffer = buffer
        self._http = ngh2.Connection(ngh2.Role.SERVER, _CONFIGURATION)
        self._answered: list[int] = []  # streams to reset once their answers are sent
        self._receiving = False  # what is answered meanwhile is sent in one piece
        self._full = False  # the socket takes no more
        self._ending = False  # it is closed once everything is sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        self._known.add(self)
        self._http.initiate_connection(_SETTINGS)
        self._http.set_local_window_size(_MAX_WINDOW)
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a hint, no more
        """Called by asyncio. The buffer is kept: a new one for each read costs more than the read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio."""
        self._receiving = True
        try:
            self._http.receive_data(self._buffer[:nbytes])
            self._tell()
        except ngh2.NGH2Error:  # no HTTP/2, or an attack
            self.abort()
        finally:
            self._receiving = False
        self.flush()

    def pause_writing(self) -> None:
        """Called by asyncio: who does not read answers is not read from."""
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._full = False
        self._transport.resume_reading()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """Called by asyncio."""
        self._known.discard(self)
        self._close_all()

    def close(self) -> None:
        """Ends all streams and closes the socket as soon as everything is sent.

        No GOAWAY is sent: a grpcio client that gets one before its first call is answered may wait forever, without a
        connection.
        """
        for stream in list(self._streams.values()):
            stream.end()
        self._ending = True
        self.flush()

    def abort(self) -> None:
        """Ends all streams and closes the socket, whatever is unsent."""
        self._close_all()
        self._transport.abort()

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has made no room for."""
        return self._http.queued_body_size()

    def answer(self, stream: int, headers: Sequence[Header], last: bool = False) -> None:
        """Sends the headers of an answer, with `flush`; nothing follows the `last`."""
        if stream in self._streams:
            self._http.send_response(stream, headers, end_stream=last)

    def reset(self, stream: int) -> None:
        """Tells a client that has been answered to send no more, with `flush`."""
        self._answered.append(stream)

    def data(self, stream: int, data: bytes) -> None:
        """Sends data of an answer, with `flush`."""
        if stream in self._streams:
            self._http.send_data(stream, data)

    def trailers(self, stream: int, headers: Sequence[Header]) -> None:
        """Ends the answer, with `flush`."""
        if stream in self._streams:
            self._http.send_trailers(stream, headers)

    def consumed(self, stream: int, size: int) -> None:
        """Makes room for as many bytes more, with `flush`; also of a stream that is closed: all share one window."""
        self._http.acknowledge_received_data(size, stream)

    def flush(self) -> None:
        """Sends what can be sent."""
        if self._receiving or self._transport.is_closing():
            return
        self._write()
        if self._answered and not self._full:
            for stream in self._answered:
                self._http.reset_stream(stream, ngh2.ErrorCode.NO_ERROR)
            self._answered.clear()
            self._write()
        self._tell()
        for stream in [stream for stream in self._senders if self._http.queued_body_size(stream) <= _UNSENT]:
            _wake(self._senders.pop(stream))
        if self._ending and not self._full and not self.unsent and not self._transport.is_closing():
            self._transport.close()

    async def sent(self, stream: int) -> None:
        """Waits until most of the stream's data is on its way."""
        if stream in self._streams and self._http.queued_body_size(stream) > _UNSENT:
            sender = self._senders[stream] = asyncio.get_running_loop().create_future()
            await sender

    def _write(self) -> None:
        more = True
        while more and not self._full:
            data = self._http.data_to_send(_WRITE)
            self._transport.write(data)
            more = len(data) == _WRITE

    def _tell(self) -> None:
        events = self._http.events()
        # A stream that the client began and broke off in one go can't be answered, and must not be begun.
        closed = {event.stream_id for event in events if isinstance(event, ngh2.StreamClosed)}
        for stream in closed:
            self._close(stream)
        for event in events:
            if isinstance(event, ngh2.RequestReceived):
                if event.stream_id not in closed:
                    self._begin(event)
            elif isinstance(event, ngh2.DataReceived):
                known = self._streams.get(event.stream_id)
                if known is None:
                    self.consumed(event.stream_id, len(event.data))
                else:
                    known.received(event.data)
                    if event.end_stream:
                        known.ended()
            elif isinstance(event, ngh2.TrailersReceived):
                if event.stream_id in self._streams:
                    self._streams[event.stream_id].ended()
            elif isinstance(event, ngh2.ConnectionClosed):
                self._close_all()
                self._transport.close()

    def _begin(self, event: ngh2.RequestReceived) -> None:
        stream = self._streams[event.stream_id] = self._accept(self, event.stream_id, event.headers)
        stream.begun()
        if event.end_stream:
            stream.ended()

    def _close_all(self) -> None:
        for stream in list(self._streams):
            self._close(stream)

    def _close(self, stream: int) -> None:
        known = self._streams.pop(stream, None)
        if known is not None:
            known.closed()
        sender = self._senders.pop(stream, None)
        if sender is not None:
            sender.cancel()


def _wake(sender: asyncio.Future[None]) -> None:
    if not sender.done():  # a deadline may have cancelled it
        sender.set_result(None)
