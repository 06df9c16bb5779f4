"""Calls of the gRPC server: from the headers to the status, with a deadline, broken off by either side.

A behaviour, which runs a call, raises RequestError for every end of it but a good one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from grpc import StatusCode

from spark_accel.daemon import grpc_messages
from spark_accel.daemon.grpc_messages import Header, Message, MessageReader
from spark_accel.daemon.http2 import Connection
from spark_accel.daemon.request import RequestError

_log = logging.getLogger(__name__)

_UNREAD = 64  # messages of a stream that wait for its behaviour; more wait at the client
_UNREAD_BYTES = 64 * 2**20  # of these messages
_MOST_UNSENT = 2**30  # bytes of answers that wait for one client, before more are refused
CONTENT_TYPE = b"application/grpc"
HEADERS: list[Header] = [
    (b":status", b"200"),
    (b"content-type", CONTENT_TYPE),
    (b"grpc-accept-encoding", grpc_messages.ACCEPTED_ENCODINGS),
]
_OK: list[Header] = [(b"grpc-status", b"0")]
_ONE_MESSAGE = "expected one message, whole"


class Context:
    """What a behaviour may ask about its call."""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self._headers = headers

    def metadata(self, key: str) -> str:
        """The value that the client gave with the call; empty without."""
        return self._headers.get(key.encode(), b"").decode(errors="replace")


Reply = Callable[[Callable[[], Any]], None]
"""Takes what gives the response, or raises RequestError; called once."""
Direct = Callable[[Any, Context, Reply], Callable[[], None]]
"""Begins to answer a request and returns what breaks that off; raises RequestError."""


@dataclass(frozen=True)
class Method:
    """A method as it is run: one of `direct`, `unary` and `streaming` is not None.

    `streaming` is given an iterator of requests if the method `takes_stream`.
    """

    path: str
    parse: Callable[[bytes], Any]  # may raise whatever it likes
    serialize: Callable[[Any], bytes]
    direct: Direct | None = None
    unary: Callable[[Any, Context], Awaitable[Any]] | None = None
    streaming: Callable[[Any, Context], AsyncGenerator[Any, None]] | None = None
    takes_stream: bool = False


class Gate(Protocol):
    """What every call passes."""

    def enter(self, method: Method) -> None:
        """A call is about to run; raises RequestError to turn it away."""

    def leave(self, method: Method) -> None:
        """A call that entered has ended."""


class Call:
    """A call as its connection sees it; implements `http2.Stream`."""

    def __init__(self, connection: Connection, stream: int) -> None:
        self._connection = connection
        self._stream = stream
        self._complete = False  # the client has sent everything
        self._answering = False  # headers have been sent
        self._over = False

    def begun(self) -> None:
        """See http2.Stream."""

    def received(self, data: bytes) -> None:
        """See http2.Stream."""
        self._connection.consumed(self._stream, len(data))

    def ended(self) -> None:
        """See http2.Stream."""
        self._complete = True

    def closed(self) -> None:
        """See http2.Stream."""
        self._over = True

    def end(self) -> None:
        """See http2.Stream."""
        self.finish(StatusCode.UNAVAILABLE, "Server exiting")

    def finish(self, code: StatusCode, message: str) -> None:
        """Ends the call with this status, unless it has ended."""
        if self._over:
            return
        if self._answering:
            self._over = True
            self._connection.trailers(self._stream, grpc_messages.status(code, message))
            self._connection.flush()
        else:
            self.refuse([*HEADERS, *grpc_messages.status(code, message)])

    def refuse(self, headers: list[Header]) -> None:
        """Ends the call with these headers, its first and last."""
        self._over = True
        self._connection.answer(self._stream, headers, last=True)
        if not self._complete:
            self._connection.reset(self._stream)
        self._connection.flush()


class RefusedCall(Call):
    """A call that is answered before its request is read, which is dropped."""

    def __init__(self, connection: Connection, stream: int, headers: list[Header]) -> None:
        super().__init__(connection, stream)
        self._headers = headers

    def begun(self) -> None:
        """See http2.Stream."""
        self.refuse(self._headers)


class _RunningCall(Call):
    """A call that a method runs."""

    def __init__(
        self, connection: Connection, stream: int, gate: Gate, method: Method, headers: Mapping[bytes, bytes]
    ) -> None:
        super().__init__(connection, stream)
        self._gate = gate
        self._method = method
        self._context = Context(headers)
        self._reader = MessageReader(headers.get(b"grpc-encoding", b"identity"))
        self._entered = False  # the gate
        self._cancel: Callable[[], object] | None = None  # breaks off what runs
        self._deadline: asyncio.TimerHandle | None = None
        if b"grpc-timeout" in headers:
            seconds = grpc_messages.seconds(headers[b"grpc-timeout"])
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._expire)

    def closed(self) -> None:
        """See http2.Stream."""
        super().closed()
        self._left()
        if self._cancel is not None:
            self._cancel()

    def finish(self, code: StatusCode, message: str) -> None:
        super().finish(code, message)
        self._left()
        if self._cancel is not None:
            self._cancel()

    def _expire(self) -> None:
        self.finish(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _enter(self) -> None:
        self._gate.enter(self._method)
        self._entered = True

    def _left(self) -> None:
        if self._entered:
            self._entered = False
            self._gate.leave(self._method)
        if self._deadline is not None:
            self._deadline.cancel()

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        self._cancel = asyncio.get_running_loop().create_task(self._run(work)).cancel

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        code, message = StatusCode.OK, ""
        try:
            self._enter()
            await work()
        except RequestError as error:
            code, message = error.code, error.message
        except asyncio.CancelledError:  # by this server, most likely, and the call is over
            self.finish(StatusCode.CANCELLED, "the call was cancelled")
            raise
        except Exception:
            code, message = self._unforeseen()
        self._cancel = None
        self.finish(code, message)

    def _unforeseen(self) -> tuple[StatusCode, str]:
        _log.exception("%s failed", self._method.path)
        return StatusCode.INTERNAL, "internal error; the daemon's log has it"

    def _read(self, data: bytes) -> list[Message]:
        """The messages that `data` completes; none, and the end of the call, if it can't be read."""
        try:
            return self._reader.read(data)
        except RequestError as error:
            self.finish(error.code, error.message)
            return []

    def _parsed(self, message: Message) -> Any:  # noqa: ANN401 - a message of any type
        data = self._reader.unpacked(message)
        try:
            return self._method.parse(data)
        except Exception:  # whatever the parser raises for bytes that are no request
            raise RequestError(StatusCode.INTERNAL, "Unable to parse request") from None

    def _framed(self, response: Any) -> bytes:  # noqa: ANN401 - a message of any type
        if self._connection.unsent > _MOST_UNSENT:
            raise RequestError(StatusCode.RESOURCE_EXHAUSTED, "this client does not read the answers that it has")
        return grpc_messages.framed(self._method.serialize(response))


class UnaryCall(_RunningCall):
    """One request, one response."""

    _messages: Sequence[Message] = ()

    def received(self, data: bytes) -> None:
        """See http2.Stream."""
        super().received(data)
        if not self._over:
            self._messages = [*self._messages, *self._read(data)]
            if len(self._messages) > 1:
                self.finish(StatusCode.INTERNAL, _ONE_MESSAGE)

    def ended(self) -> None:
        """See http2.Stream."""
        super().ended()
        if self._over:
            return
        if len(self._messages) != 1 or not self._reader.empty:
            self.finish(StatusCode.INTERNAL, _ONE_MESSAGE)
        elif self._method.direct is None:
            self._start(self._answer)
        else:
            self._begin(self._method.direct)

    def _begin(self, direct: Direct) -> None:
        try:
            self._enter()
            cancel = direct(self._request(), self._context, self._reply)
        except RequestError as error:
            self.finish(error.code, error.message)
        except Exception:
            self.finish(*self._unforeseen())
        else:
            self._cancel = None if self._over else cancel

    def _reply(self, response: Callable[[], Any]) -> None:
        self._cancel = None
        if self._over:
            return
        try:
            self._respond(response())
        except RequestError as error:
            self.finish(error.code, error.message)
        except Exception:
            self.finish(*self._unforeseen())

    async def _answer(self) -> None:
        assert self._method.unary is not None  # noqa: S101 - else it ran directly
        self._respond(await self._method.unary(self._request(), self._context))

    def _request(self) -> Any:  # noqa: ANN401 - a message of any type
        (message,), self._messages = self._messages, ()  # its bytes may be many, and are of no use any more
        return self._parsed(message)

    def _respond(self, response: Any) -> None:  # noqa: ANN401 - a message of any type
        data = self._framed(response)
        self._over = True
        self._left()
        self._connection.answer(self._stream, HEADERS)
        self._connection.data(self._stream, data)
        self._connection.trailers(self._stream, _OK)
        self._connection.flush()


class StreamingCall(_RunningCall):
    """Several requests or several responses."""

    def begun(self) -> None:
        """See http2.Stream."""
        self._messages: deque[Message] = deque()
        self._waiting = 0  # bytes of these
        self._news = asyncio.Event()  # a message has arrived, or the last has
        self._unread = 0  # bytes that wait with the messages
        self._start(self._answer)

    def closed(self) -> None:
        """See http2.Stream."""
        super().closed()
        self._make_room()

    def received(self, data: bytes) -> None:
        """See http2.Stream."""
        self._unread += len(data)
        if not self._over:
            for message in self._read(data):
                self._messages.append(message)
                self._waiting += len(message[1])
        self._make_room()
        self._news.set()

    def ended(self) -> None:
        """See http2.Stream."""
        super().ended()
        if not self._reader.empty:
            self.finish(StatusCode.INTERNAL, "expected whole messages")
        self._news.set()

    async def _answer(self) -> None:
        assert self._method.streaming is not None  # noqa: S101 - else it were a unary call
        requests = self._requests()
        request = requests if self._method.takes_stream else await anext(requests, None)
        if request is None:
            raise RequestError(StatusCode.INTERNAL, _ONE_MESSAGE)
        async with aclosing(self._method.streaming(request, self._context)) as responses:
            async for response in responses:
                await self._send(self._framed(response))

    async def _send(self, data: bytes) -> None:
        if not self._answering:
            self._answering = True
            self._connection.answer(self._stream, HEADERS)
        self._connection.data(self._stream, data)
        self._connection.flush()
        await self._connection.sent(self._stream)

    async def _requests(self) -> AsyncIterator[Any]:
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._waiting -= len(message[1])
                self._make_room()
                self._connection.flush()
                yield self._parsed(message)
            if self._complete:
                return
            self._news.clear()
            await self._news.wait()

    def _make_room(self) -> None:
        room = len(self._messages) <= _UNREAD and self._waiting <= _UNREAD_BYTES
        if self._unread and (self._over or room):
            self._connection.consumed(self._stream, self._unread)
            self._unread = 0
