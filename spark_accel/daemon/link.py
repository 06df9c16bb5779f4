"""Frames between the daemon's process and a worker, over a Unix stream socket: a JSON header and raw bytes after it.

`Link` is the worker's blocking end, `AsyncLink` the daemon's. A frame may carry one open file (SCM_RIGHTS). Both ends
are our own processes, so that frames are trusted. What is in a header is `supervisor.py`'s and `worker.py`'s.
"""

import array
import asyncio
import json
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
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

    def receive(self) -> tuple[Header, memoryview, int | None]:
        """The next frame: header, payload, and the descriptor that came with it. Raises EOFError at the end."""
        lengths = bytearray(_LENGTHS.size)
        got, ancillary, _, _ = self._socket.recvmsg_into([lengths], socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        descriptor = _descriptor(ancillary)
        self._fill(memoryview(lengths)[got:] if got else None)
        header_size, payload_size = _LENGTHS.unpack(lengths)
        body = memoryview(bytearray(header_size + payload_size))
        self._fill(body)
        return json.loads(bytes(body[:header_size])), body[header_size:], descriptor

    def send(self, header: Mapping[str, Any], payload: Sequence[Buffer] = ()) -> None:
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
        self._incoming = bytearray()
        self._wanted = _LENGTHS.size
        self._outgoing: deque[tuple[list[Buffer], int | None]] = deque()  # what is left of a frame
        self._open = True
        self._loop.add_reader(connection, self._read)

    def send(self, header: Mapping[str, Any], payload: Sequence[Buffer] = (), descriptor: int | None = None) -> None:
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
        self._outgoing.append((pieces, None if descriptor is None else os.dup(descriptor)))

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

    def _send(self, pieces: list[Buffer], descriptor: int | None) -> bool:
        """Sends as much as the socket takes; True if that was all."""
        rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        while pieces:
            try:
                sent = self._socket.sendmsg(pieces[:_MOST_PIECES], rights)
            except BlockingIOError:
                return False
            except OSError:  # the worker is gone: the reader notices
                pieces.clear()
                return True
            rights = []
            _drop(pieces, sent)
        return True

    def _write(self) -> None:
        while self._outgoing:
            pieces, descriptor = self._outgoing[0]
            if not self._send(pieces, descriptor):
                return
            if descriptor is not None:
                os.close(descriptor)
            self._outgoing.popleft()
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(max(_READ, self._wanted - len(self._incoming)))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._ended()
            return
        self._incoming += data
        while self._open and len(self._incoming) >= self._wanted:
            header_size, payload_size = _LENGTHS.unpack_from(self._incoming)
            self._wanted = _LENGTHS.size + header_size + payload_size
            if len(self._incoming) < self._wanted:
                return
            start = _LENGTHS.size + header_size
            header = json.loads(self._incoming[_LENGTHS.size : start])
            payload = memoryview(bytes(memoryview(self._incoming)[start : self._wanted]))
            del self._incoming[: self._wanted]
            self._wanted = _LENGTHS.size
            self._received(header, payload)


def _frame(header: Mapping[str, Any], payload: Sequence[Buffer]) -> list[Buffer]:
    text = json.dumps(header, separators=(",", ":")).encode()
    size = sum(len(piece) for piece in payload)
    pieces: list[Buffer] = [_LENGTHS.pack(len(text), size), text, *payload]
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
