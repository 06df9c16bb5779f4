"""Frames between the daemon's process and a worker, over a Unix stream socket: a header and raw bytes after it.

`Link` is the worker's blocking end, `AsyncLink` the daemon's. A frame may carry one open file (SCM_RIGHTS). Both ends
are our own processes, of one interpreter: frames are trusted, and headers, plain Python values, are `marshal`'s, which
takes a fifth of JSON's time. What is in them is `device_worker.py`'s and `worker.py`'s.
"""

import array
import asyncio
import marshal
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Header = dict[str, Any]
Buffer = bytes | bytearray | memoryview

_LENGTHS = struct.Struct("<IQ")  # of the header and of the payload
_SMALL = 1 << 16  # bytes up to which a frame is sent as one piece
_MOST_PIECES = 512  # below IOV_MAX
_READ = 1 << 18


class Link:
    """The blocking end. Several threads may send, one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """The socket's, to wait for."""
        return self._socket.fileno()

    def receive(self) -> tuple[Header, memoryview, int | None]:
        """The next frame: header, payload, and the descriptor that came with it. Raises EOFError at the end."""
        lengths = bytearray(_LENGTHS.size)
        got, ancillary, _, _ = self._socket.recvmsg_into([lengths], socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        descriptor = _descriptor(ancillary)
        self._fill(memoryview(lengths)[got:] if got else None)
        header_size, payload_size = _LENGTHS.unpack(lengths)
        body = memoryview(bytearray(header_size + payload_size))
        self._fill(body)
        return marshal.loads(body[:header_size]), body[header_size:], descriptor  # noqa: S302 - trusted, see above

    def send(self, header: Header, payload: Sequence[Buffer] = ()) -> None:
        """Sends a frame; raises OSError if the other end is gone."""
        with self._sending:
            pieces = _frame(header, payload)
            while pieces:
                sent = self._socket.sendmsg(pieces[:_MOST_PIECES])
                _drop(pieces, sent)

    def _fill(self, view: memoryview | None) -> None:
        if view is None:
            raise EOFError
        while view:
            got = self._socket.recv_into(view, 0, socket.MSG_WAITALL)
            if not got:
                raise EOFError
            view = view[got:]


class AsyncLink:
    """The daemon's end: calls `received(header, payload)` for each frame and `ended()` once, from the event loop."""

    def __init__(
        self,
        connection: socket.socket,
        received: Callable[[Header, memoryview], None],
        ended: Callable[[], None],
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(_READ))  # kept: a new one for each read costs more than the read
        self._filled = 0  # bytes of the buffer that have arrived and belong to an unfinished frame
        self._outgoing: deque[tuple[list[Buffer], int | None]] = deque()  # what is left of a frame
        self._open = True
        self._loop.add_reader(connection, self._read)

    def send(self, header: Header, payload: Sequence[Buffer] = (), descriptor: int | None = None) -> None:
        """Sends a frame, later if the socket is full. `descriptor` may be closed once this returns.

        A frame with a descriptor has no payload, so that the socket takes all of it or nothing.
        """
        if not self._open:
            return
        pieces = _frame(header, payload)
        if not self._outgoing:
            if self._send(pieces, descriptor):
                return
            self._loop.add_writer(self._socket, self._write)
        try:
            kept = None if descriptor is None else os.dup(descriptor)
        except OSError:  # no descriptor is left
            self._fail()
            return
        self._outgoing.append((pieces, kept))

    def close(self) -> None:
        """Closes the socket, which ends the worker; `ended` is not called."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for _, descriptor in self._outgoing:
            if descriptor is not None:
                os.close(descriptor)
        self._outgoing.clear()

    def _fail(self) -> None:
        """Gives the connection up: a frame is lost."""
        self.close()
        self._loop.call_soon(self._ended)

    def _send(self, pieces: list[Buffer], descriptor: int | None) -> bool:
        """Sends as much as the socket takes; True if that was all."""
        rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        while pieces:
            try:
                sent = self._socket.sendmsg(pieces[:_MOST_PIECES], rights)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):  # the worker is gone: the reader notices
                return True
            except OSError:  # the kernel takes no more of it, nor would the rest make sense without this frame
                self._fail()
                return True
            rights = []
            _drop(pieces, sent)
        return True

    def _write(self) -> None:
        while self._outgoing:
            pieces, descriptor = self._outgoing[0]
            if not self._send(pieces, descriptor) or not self._open:
                return
            if descriptor is not None:
                os.close(descriptor)
            self._outgoing.popleft()
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            got = self._socket.recv_into(self._buffer[self._filled :])
        except BlockingIOError:
            return
        except OSError:
            got = 0
        if not got:
            self.close()
            self._ended()
            return
        self._filled += got
        at, needed = 0, _LENGTHS.size
        while self._open and self._filled - at >= _LENGTHS.size:
            header_size, payload_size = _LENGTHS.unpack_from(self._buffer, at)
            needed = _LENGTHS.size + header_size + payload_size
            if self._filled - at < needed:
                break
            start = at + _LENGTHS.size + header_size
            header = marshal.loads(self._buffer[at + _LENGTHS.size : start])  # noqa: S302 - trusted, see above
            payload = memoryview(bytes(self._buffer[start : at + needed]))
            at, needed = at + needed, _LENGTHS.size
            self._received(header, payload)
        self._keep(at, needed)

    def _keep(self, at: int, needed: int) -> None:
        """Moves what has arrived of a frame that has `needed` bytes to the start of a buffer that can hold it."""
        left = self._filled - at
        buffer = self._buffer
        if len(buffer) != max(needed, _READ):
            buffer = memoryview(bytearray(max(needed, _READ)))
        buffer[:left] = self._buffer[at : self._filled]
        self._buffer, self._filled = buffer, left


def _frame(header: Header, payload: Sequence[Buffer]) -> list[Buffer]:
    encoded = marshal.dumps(header)
    size = sum(map(len, payload))
    pieces: list[Buffer] = [_LENGTHS.pack(len(encoded), size), encoded, *payload]
    return [b"".join(pieces)] if size < _SMALL else [memoryview(piece) for piece in pieces]


def _drop(pieces: list[Buffer], sent: int) -> None:
    """Takes `sent` bytes off the front."""
    done = 0
    while done < len(pieces) and sent >= len(pieces[done]):
        sent -= len(pieces[done])
        done += 1
    del pieces[:done]
    if sent:
        pieces[0] = memoryview(pieces[0])[sent:]


def _descriptor(ancillary: Sequence[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return int.from_bytes(data[:4], "little")
    return None
