"""The client: networks, regions and requests, through a daemon that it starts itself."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import eventually
from nodes import node, write_network
from plans import random_images

from spark_accel.client import Client, shared
from spark_accel.errors import AccelError, DaemonError, ModelError, RegionMemoryError
from spark_accel.networks import reference
from spark_accel.networks.plan import Plan
from spark_accel.settings import Settings, override


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with node(tmp_path_factory.mktemp("node")) as settings:
        yield settings


@pytest.fixture(scope="module")
def plan(settings: Settings) -> Plan:
    write_network(settings.repository, "other", max_batch=4, seed=2)
    return write_network(settings.repository)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    client = Client(settings)
    yield client
    client.close()


def files(prefix: str) -> list[str]:
    return [file.name for file in Path("/dev/shm").glob(f"{prefix}*")]


def test_the_facts_of_a_network_are_those_of_its_configuration_and_labels(client: Client, plan: Plan) -> None:
    network = client.network("tiny")

    assert (network.name, network.version, network.max_batch) == ("tiny", 1, 8)
    assert (network.height, network.width, network.resize) == (plan.height, plan.width, 40)
    assert network.classes == plan.classes == len(network.ids) == len(network.labels)
    assert (network.ids[3], network.labels[3]) == ("n00000003", "thing 3")


def test_without_a_device_it_says_why_there_is_none(tmp_path: Path) -> None:
    with node(tmp_path, device="nobody:nothing", fallback="error") as settings:
        client = Client(settings)
        told = client.device()
        client.close()

    assert told.startswith("no device: no OpenCL device matches 'device=nobody:nothing'; there are: ")


def test_the_daemons_settings_count_and_others_are_warned_of(
    client: Client, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.repository == settings.repository
    assert not caplog.messages

    other = Client(override(settings, repository=str(tmp_path), device="cpu"))

    assert other.repository == settings.repository
    assert [text.split(":")[0] for text in caplog.messages] == [
        "spark.accel.device=cpu has no effect",
        f"spark.accel.repository={tmp_path} has no effect",
    ]
    assert "was started with 'reference'" in caplog.text
    other.close()


@pytest.mark.usefixtures("plan")
def test_a_network_that_is_not_there_is_an_error_with_the_nearest_name(client: Client, settings: Settings) -> None:
    with pytest.raises(ModelError) as raised:
        client.network("tinny")

    text = f"model 'tinny' is not in the repository {settings.repository}; nearest: 'tiny'"
    assert str(raised.value).startswith(text)


def test_a_broken_network_is_an_error_with_the_reason(client: Client, settings: Settings) -> None:
    write_network(settings.repository, "broken")
    (settings.repository / "broken" / "1" / "network.safetensors").write_bytes(b"no network")

    with pytest.raises(
        ModelError, match=r"model 'broken' in .* can't be loaded: .*network.safetensors is not a usable"
    ):
        client.network("broken")


@pytest.mark.parametrize("resize", ["1e9", "-40", "3", "9" * 5000])
def test_a_resize_that_no_image_can_have_is_named(client: Client, settings: Settings, resize: str) -> None:
    write_network(settings.repository, f"odd{len(resize)}{resize[:2]}")
    config = settings.repository / f"odd{len(resize)}{resize[:2]}" / "config.pbtxt"
    config.write_text(config.read_text().replace('"40"', f'"{resize}"'))

    with pytest.raises(
        ModelError,
        match=rf"'{config.parent.name}'.*the parameter resize is '{resize[:20]}': expected pixels, 33 to 9999",
    ):
        client.network(config.parent.name)


def test_a_model_that_is_no_network_is_refused(client: Client, settings: Settings) -> None:
    (settings.repository / "echo" / "1").mkdir(parents=True)
    (settings.repository / "echo" / "config.pbtxt").write_text('backend: "identity"')

    with pytest.raises(ModelError, match="model 'echo' is no network: its backend is 'identity'"):
        client.network("echo")


def test_logits_and_best_classes_are_those_of_the_reference(client: Client, plan: Plan) -> None:
    network = client.network("tiny")
    images = random_images(np.random.default_rng(0), plan, 8)
    region = client.region(images.nbytes)
    region.array[:] = images.reshape(-1)

    logits = client.logits(network, region, 8).result()
    best = client.classify(network, region, 8, top=3).result()

    assert np.array_equal(logits, reference.run(plan, images))
    assert np.array_equal(best.index, np.argsort(-logits, axis=1, kind="stable")[:, :3])
    assert (best.index.dtype, best.score.dtype, best.score.shape) == (np.int32, np.float32, (8, 3))


def test_several_requests_in_flight_each_get_their_own_answer(client: Client, plan: Plan) -> None:
    network = client.network("tiny")
    images = random_images(np.random.default_rng(0), plan, 30)
    region = client.region(images.nbytes)
    region.array[:] = images.reshape(-1)

    answers = [client.logits(network, region, 1, offset=number * images[0].nbytes) for number in range(30)]

    assert np.array_equal(np.concatenate([answer.result() for answer in answers]), reference.run(plan, images))
    assert (client.counters.requests, client.counters.images) == (30, 30)
    assert client.counters.seconds_waited > 0


def test_a_request_that_the_daemon_refuses_is_an_error_at_once(client: Client, plan: Plan) -> None:
    network = client.network("tiny")
    region = client.region(plan.height * plan.width * 3)

    with pytest.raises(AccelError, match=r"Invalid offset \+ byte size for shared memory region"):
        client.logits(network, region, 2).result()
    with pytest.raises(AccelError, match=r"'top' is 12, expected an integer from 1 to 11"):
        client.classify(network, region, 1, top=12).result()


def test_a_closed_region_leaves_no_file_and_its_memory_can_be_had_again(settings: Settings) -> None:
    client = Client(override(settings, memory_limit="1m"))

    for _ in range(5):
        region = client.region(2**20)
        (name,) = files(region.name)
        region.close()
        assert files(name) == []

    client.close()


def test_a_closed_client_leaves_no_file(settings: Settings) -> None:
    client = Client(settings)
    prefix = client.region(4096).name.rsplit("-", 1)[0]
    client.region(4096)
    assert len(files(prefix)) == 2

    client.close()

    assert files(prefix) == []


def test_a_region_that_was_given_back_is_lent_again(client: Client, plan: Plan) -> None:
    images = random_images(np.random.default_rng(4), plan, 2)
    first = client.borrow(images.nbytes)
    client.give_back(first)

    region = client.borrow(images.nbytes)
    region.array[:] = images.reshape(-1)

    assert region is first
    assert np.array_equal(client.logits(client.network("tiny"), region, 2).result(), reference.run(plan, images))
    assert client.borrow(images.nbytes) is not region


def test_regions_that_were_given_back_take_no_memory_from_others(settings: Settings) -> None:
    client = Client(override(settings, memory_limit="1m"))
    lent = client.borrow(2**20)
    client.give_back(lent)

    region = client.borrow(2**19)

    assert files(lent.name) == []
    client.give_back(region)
    client.close()
    assert files(region.name) == []


def test_of_regions_that_are_given_back_a_few_are_kept(client: Client) -> None:
    regions = [client.borrow(4096) for _ in range(5)]

    for region in regions:
        client.give_back(region)

    assert [bool(files(region.name)) for region in regions] == [True] * 3 + [False] * 2


def test_more_memory_than_one_process_may_hold_is_refused(settings: Settings) -> None:
    client = Client(override(settings, memory_limit="1m"))
    client.region(1_000_000)

    with pytest.raises(RegionMemoryError) as raised:
        client.region(50_000)

    client.close()
    text = "a region of 50,000 bytes is wanted, and 1,000,000 of the 1,048,576 that one process may hold are in use"
    assert str(raised.value) == f"{text}; set spark.accel.memory.limit"


def test_a_full_memory_folder_is_an_error_that_says_how_much_was_wanted(settings: Settings) -> None:
    client = Client(override(settings, memory_limit="2048t"))

    with pytest.raises(RegionMemoryError) as raised:
        client.region(2**50)

    prefix = client.region(4096).name.rsplit("-", 1)[0]
    assert len(files(prefix)) == 1  # none of what could not be had is left
    client.close()
    text = str(raised.value)
    assert text.startswith("1,125,899,906,842,624 bytes of shared memory are wanted in /dev/shm, which has ")
    assert "No space left on device" in text
    assert text.endswith("set spark.accel.memory.dir to another folder")


_MAPS_TOO_MUCH = """
import resource, sys
from pathlib import Path
import psutil
from spark_accel.errors import RegionMemoryError
from spark_accel.shared_region import RegionFile

used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + 2**23, resource.RLIM_INFINITY))
try:
    RegionFile(Path(sys.argv[1]), 2**25)
except RegionMemoryError as error:
    print(error)
"""


def test_a_region_that_cant_be_mapped_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MAPS_TOO_MUCH, str(tmp_path / "region")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("33,554,432 bytes of shared memory are wanted")
    assert list(tmp_path.iterdir()) == []


def test_regions_can_lie_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    with node(tmp_path, memory_dir=str(tmp_path / "memory")) as settings:
        plan = write_network(settings.repository)
        client = Client(settings)
        region = client.region(plan.height * plan.width * 3)

        assert [file.name for file in (tmp_path / "memory").iterdir()] == [region.name]
        assert client.logits(client.network("tiny"), region, 1).result().shape == (1, plan.classes)
        client.close()


def test_a_memory_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with node(tmp_path, memory_dir=str(tmp_path / "absent")) as settings:
        client = Client(settings)

        with pytest.raises(RegionMemoryError, match=rf"4,096 bytes .* in {tmp_path}/absent, which has no such folder"):
            client.region(4096)
        client.close()


def test_a_finalizer_or_signal_handler_may_use_the_client_in_the_middle_of_a_call(client: Client) -> None:
    inner = 0

    def handle(*_: object) -> None:
        nonlocal inner
        client.region(4096).close()
        inner += 1

    before = signal.signal(signal.SIGALRM, handle)  # pytest-timeout's
    try:
        for number in range(400):
            signal.setitimer(signal.ITIMER_REAL, 0.0002 + number % 20 * 2e-5)
            client.devices()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert inner


def test_threads_that_come_and_go_leave_no_connections(client: Client) -> None:
    client.devices()
    before = psutil.Process().num_fds()

    for _ in range(20):
        with ThreadPoolExecutor(1) as thread:
            thread.submit(client.devices).result(20)

    assert psutil.Process().num_fds() <= before


def test_without_daemon_and_without_leave_to_start_one_a_client_can_not_be_made(tmp_path: Path) -> None:
    with node(tmp_path, daemon_start="false") as settings, pytest.raises(DaemonError, match="no daemon answers at"):
        shared(settings)


def test_a_daemon_that_refuses_regions_of_that_size_is_heard(tmp_path: Path) -> None:
    with node(tmp_path, memory_limit="1m") as settings:
        client = Client(settings)
        greedy = Client(override(settings, memory_limit="1g"))

        with pytest.raises(RegionMemoryError, match=r"more than this client may hold: 0 of 1048576 bytes are in use"):
            greedy.region(2**21)
        prefix = greedy.region(4096).name.rsplit("-", 1)[0]
        assert len(files(prefix)) == 1
        client.close()
        greedy.close()
        eventually(lambda: not files(prefix))


def test_a_closed_client_makes_no_requests(client: Client, plan: Plan) -> None:
    region = client.region(plan.height * plan.width * 3)
    network = client.network("tiny")

    client.close()

    with pytest.raises(DaemonError, match="this client of the daemon is closed"):
        client.network("tiny")
    with pytest.raises(DaemonError, match="this client of the daemon is closed"):
        client.region(1)
    with pytest.raises(DaemonError, match="this client of the daemon is closed"):
        client.logits(network, region, 1)


def test_requests_that_find_the_queue_full_are_sent_again_until_there_is_room(settings: Settings) -> None:
    plan = write_network(settings.repository, "crowded", max_batch=2)
    config = settings.repository / "crowded" / "config.pbtxt"
    policy = "dynamic_batching { default_queue_policy { max_queue_size: 1 } }"
    config.write_text(config.read_text().replace("dynamic_batching {}", policy))
    assert policy in config.read_text()
    images = random_images(np.random.default_rng(1), plan, 2)

    clients = [Client(settings) for _ in range(8)]
    try:
        answers = []
        for client in clients:
            network = client.network("crowded")
            region = client.region(images.nbytes)
            region.array[:] = images.reshape(-1)
            answers += [client.logits(network, region, 2) for _ in range(5)]
        found = [answer.result(60) for answer in answers]
    finally:
        for client in clients:
            client.close()

    for logits in found:
        np.testing.assert_array_equal(logits, reference.run(plan, images))
