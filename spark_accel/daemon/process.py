"""The daemon's own process: puts its parts together, serves until it is told to end or nobody needs it, and ends.

It is ready as soon as its socket is open: devices are found and their workers started meanwhile. It holds no device and
maps no region. Two that race for one socket agree by a lock: one serves, the other leaves.
"""

import asyncio
import logging
import signal
import time

import uvloop

from spark_accel import endpoint
from spark_accel.daemon import installed_bitstreams, open_files
from spark_accel.daemon.inference_service import InferenceService
from spark_accel.daemon.leases import Leases
from spark_accel.daemon.node_service import NodeService
from spark_accel.daemon.regions import Regions
from spark_accel.daemon.repository import Repository
from spark_accel.daemon.scheduler import Scheduler
from spark_accel.daemon.server import Server
from spark_accel.daemon.statistics import Statistics
from spark_accel.daemon.supervisor import Supervisor
from spark_accel.errors import DaemonError
from spark_accel.settings import Settings

_log = logging.getLogger(__name__)

_DRAIN_SECONDS = endpoint.ENDING_SECONDS - 10


def run(settings: Settings) -> None:
    """Serves on `settings.daemon_socket`, unless a daemon does already. Logs to stderr.

    Raises ConfigurationError if the socket's folder can't be used, DaemonError if its place is not given up.
    """
    logging.basicConfig(format="%(asctime)s daemon %(process)d %(levelname)s %(message)s", level=logging.INFO)
    endpoint.prepare(settings.daemon_socket)
    if not _own(settings):
        pid = endpoint.daemon_pid(settings.daemon_socket)
        _log.info("a daemon (process %d) serves %s already; this one leaves", pid, settings.daemon_socket)
        return
    # What lies there now is a dead daemon's.
    settings.daemon_socket.unlink(missing_ok=True)
    open_files.allow_most()
    uvloop.run(_serve(settings))  # asyncio.run with a loop that takes less time a request


def _own(settings: Settings) -> bool:
    """Whether this process is the daemon now; waits for one that is ending."""
    end = time.monotonic() + endpoint.ENDING_SECONDS
    while not endpoint.own(settings.daemon_socket):
        if endpoint.answers(settings.daemon_socket):
            return False
        if time.monotonic() > end:
            raise DaemonError(
                f"process {endpoint.daemon_pid(settings.daemon_socket)} is the daemon of {settings.daemon_socket} and"
                " does not answer; end it, or set spark.accel.daemon.socket"
            )
        time.sleep(0.02)
    return True


async def _serve(settings: Settings) -> None:
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    statistics = Statistics()
    scheduler = Scheduler(statistics)
    supervisor = Supervisor(settings.device, settings.kernels, settings.fallback, scheduler.workers_changed)
    regions = Regions(settings.memory_dir, settings.memory_limit, scheduler.in_use, scheduler.region_closed)
    scheduler.attach(supervisor, regions)
    repository = Repository(settings.repository, scheduler, statistics)
    leases = Leases(settings, scheduler, regions)
    inference = InferenceService(scheduler, regions, repository, leases)
    server = Server(settings.daemon_socket, inference, NodeService(leases, repository, supervisor.devices))
    try:
        await server.start()
        supervisor.start()
        supervisor.boards_prepared = repository.load_some(
            lambda: installed_bitstreams.for_devices(settings.repository, supervisor.devices)
        )
        leases.collect()
        _log.info(
            "serving %s, models from %s, regions in %s",
            settings.daemon_socket,
            settings.repository,
            settings.memory_dir,
        )
        await _until_it_should_end(settings.daemon_idle_timeout, server, leases, told_to_end)
        await server.stop(_DRAIN_SECONDS)
    finally:
        await leases.close()
        await repository.close()
        await supervisor.close()
        await scheduler.close()
        regions.close()
    _log.info("the daemon has ended")


async def _until_it_should_end(timeout: float, server: Server, leases: Leases, told_to_end: asyncio.Event) -> None:
    while not told_to_end.is_set():
        left = timeout - min(server.idle_seconds(), leases.idle_seconds())
        if left <= 0:
            _log.info("nobody has needed the daemon for %g s", timeout)
            return
        try:
            await asyncio.wait_for(told_to_end.wait(), left)
        except asyncio.TimeoutError:
            continue
    _log.info("the daemon was told to end")
