"""Channels to one server, as many as there are calls at once."""

import contextlib
from collections import deque
from pathlib import Path

from spark_accel.channel import Channel, Metadata, StubChannel

_SPARE = 8


class ChannelPool(StubChannel):
    """For any number of threads, and for calls in the middle of a call of the same thread: of a finalizer, say.

    There are no locks, which such a call would wait for: what is done here to collections can't be interrupted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spare: deque[Channel] = deque()
        self._all: set[Channel] = set()
        self._closed = False

    def call(self, method: str, request: bytes, metadata: Metadata = (), timeout: float | None = None) -> bytes:
        """As of StubChannel."""
        channel = self._take()
        try:
            return channel.call(method, request, metadata, timeout)
        finally:
            if channel.usable and len(self._spare) < _SPARE:
                self._spare.append(channel)
            else:
                channel.close()
                self._all.discard(channel)

    def close(self) -> None:
        """Ends all calls that wait, and all that come."""
        self._closed = True
        for channel in self._all.copy():
            channel.close()

    def _take(self) -> Channel:
        with contextlib.suppress(IndexError):
            return self._spare.pop()
        channel = Channel(self._path)
        self._all.add(channel)
        if self._closed:
            channel.close()
        return channel
