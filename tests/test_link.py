"""Frames between daemon and worker arrive whole and in order, whatever their sizes, with the files that go along."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_accel.daemon.link import AsyncLink, Header, Link

payloads = st.lists(st.lists(st.binary(max_size=300_000), max_size=3), max_size=6)


@given(payloads)
def test_frames_come_back_from_an_echo_whole_and_in_order(frames: list[list[bytes]]) -> None:
    here, there = socket.socketpair()
    echo = threading.Thread(target=_echo, args=(Link(there), len(frames)))
    echo.start()

    received = asyncio.run(_exchange(here, frames))

    echo.join()
    there.close()
    assert received == [({"number": number}, b"".join(parts)) for number, parts in enumerate(frames)]


def test_a_file_arrives_with_its_frame(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    (tmp_path / "file").write_bytes(b"content")

    async def send() -> None:
        link = AsyncLink(here, lambda *_: None, lambda: None)
        link.send({"number": 1})
        with (tmp_path / "file").open("rb") as file:
            link.send({"number": 2}, descriptor=file.fileno())
        link.close()

    asyncio.run(send())
    with there:
        receiver = Link(there)
        _, _, none = receiver.receive()
        header, _, descriptor = receiver.receive()
        assert descriptor is not None
        content = os.read(descriptor, 100)
        os.close(descriptor)
        with pytest.raises(EOFError):
            receiver.receive()

    assert (none, header, content) == (None, {"number": 2}, b"content")


@pytest.mark.parametrize("waiting", [0, 1 << 24], ids=["at once", "after bytes that the socket has no room for"])
def test_a_frame_that_cant_be_sent_ends_the_link(waiting: int) -> None:
    here, there = socket.socketpair()

    async def send() -> None:
        ended = asyncio.Event()
        link = AsyncLink(here, lambda *_: None, ended.set)
        link.send({"number": 1}, [bytes(waiting)])
        link.send({"number": 2}, descriptor=1 << 30)  # there is no such file
        await asyncio.wait_for(ended.wait(), 30)

    with there:
        asyncio.run(send())
    assert here.fileno() == -1  # closed, at which the worker ends


def _echo(link: Link, count: int) -> None:
    for _ in range(count):
        header, payload, _ = link.receive()
        link.send(header, [payload])


async def _exchange(here: socket.socket, frames: list[list[bytes]]) -> list[tuple[Header, bytes]]:
    """Sends all frames at once, more than the socket takes, and gives what comes back."""
    received: list[tuple[Header, bytes]] = []
    complete = asyncio.Event()

    def on_frame(header: Header, payload: memoryview) -> None:
        received.append((header, bytes(payload)))
        if len(received) == len(frames):
            complete.set()

    link = AsyncLink(here, on_frame, lambda: None)
    for number, parts in enumerate(frames):
        link.send({"number": number}, parts)
    if frames:
        await asyncio.wait_for(complete.wait(), 30)
    link.close()
    return received
