"""The lease of a client: a call that lasts as long as the client or the daemon does."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from spark_accel.channel import CallError, Channel
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

_SECONDS = 60.0


class Lease:
    """Takes a lease of the daemon that listens on the Unix socket `path`, within a minute; raises CallError.

    `client` is who holds it, for people. `ended` is called by a thread of the lease's own when it is over, however that
    came: the daemon has gone or falls silent, or it was closed.
    """

    def __init__(self, path: Path, client: str, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._channel = Channel(path)
        grants = accel_pb2_grpc.NodeStub(self._channel).Lease(accel_pb2.LeaseRequest(client=client))
        # The call has no deadline: its first answer has one.
        deadline = threading.Timer(_SECONDS, self._channel.close)
        deadline.daemon = True
        deadline.start()
        try:
            grant = next(grants, None)
            if grant is None:
                raise CallError(grpc.StatusCode.INTERNAL, "no lease was granted")
            self.grant: accel_pb2.LeaseGrant = grant
        except BaseException:
            self._channel.close()
            raise
        finally:
            deadline.cancel()
        threading.Thread(target=self._hold, args=[grants], name="spark-accel-lease", daemon=True).start()

    @property
    def held(self) -> bool:
        """Whether it lasts."""
        return self._channel.usable

    def close(self) -> None:
        """Gives it back."""
        self._channel.close()

    def _hold(self, grants: Iterator[accel_pb2.LeaseGrant]) -> None:
        try:
            with contextlib.suppress(CallError):
                for _ in grants:
                    pass
        finally:
            self._channel.close()
            self._ended()
