"""The configuration: one table, read from Spark or the environment; what it does not know it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_accel import settings
from spark_accel.errors import ConfigurationError


def test_defaults_are_those_of_the_table() -> None:
    found = settings.from_environment({})

    assert (found.device, found.fallback, found.daemon_idle_timeout) == ("auto", "cpu", 60.0)
    assert found.memory_limit == 4 * 2**30
    assert found.daemon_socket.is_absolute()
    assert found.given == {}


def test_environment_and_spark_name_the_same_keys() -> None:
    environment = settings.from_environment({"SPARK_ACCEL_DAEMON_IDLE_TIMEOUT": "5min"})
    spark = settings.from_spark({"spark.accel.daemon.idleTimeout": "5min"}, {})

    assert environment == spark
    assert spark.daemon_idle_timeout == 300


def test_spark_wins_over_the_environment() -> None:
    found = settings.from_spark({"spark.accel.device": "gpu"}, {"SPARK_ACCEL_DEVICE": "cpu"})

    assert found.device == "gpu"


def test_other_keys_are_not_looked_at() -> None:
    assert settings.from_spark({"spark.acceleration": "x", "spark.master": "local"}, {}).given == {}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("spark.accel.devise", "spark.accel.device"),
        ("spark.accel.daemon.idletimeout", "spark.accel.daemon.idleTimeout"),
        ("spark.accel.memory.limits", "spark.accel.memory.limit"),
    ],
)
def test_an_unknown_spark_key_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown setting '{name}'; nearest: '{nearest}'"):
        settings.from_spark({name: "x"}, {})


def test_an_unknown_environment_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="nearest: 'SPARK_ACCEL_REPOSITORY'"):
        settings.from_environment({"SPARK_ACCEL_REPOSITRY": "/models"})


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("enabled", "yes", "true or false"),
        ("fallback", "gpu", "one of cpu, error"),
        ("daemon.idleTimeout", "soon", "a time such as"),
        ("memory.limit", "-1", "a size such as"),
        ("repository", "", "a path"),
        ("device", "cpus", "auto, fpga, gpu, cpu, reference or PLATFORM:DEVICE"),
        ("device", "fpga,cpu-0", "auto, fpga, gpu"),
        ("device", "", "auto, fpga, gpu"),
        ("repository", "models", "an absolute path"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_its_key(key: str, value: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=f"spark.accel.{key} is '{value}': expected {remedy}"):
        settings.from_spark({f"spark.accel.{key}": value}, {})


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512), ("512b", 512), ("1k", 1024), ("1kb", 1024), ("4G", 2**32), ("1.5m", 1572864)]
)
def test_sizes_are_read_as_spark_reads_them(text: str, size: int) -> None:
    assert settings.from_spark({"spark.accel.memory.limit": text}, {}).memory_limit == size


@given(st.sampled_from(["cpu", "gpu", "Portable:EPYC"]), st.integers(1, 10**6), st.sampled_from(["true", "false"]))
def test_what_was_set_travels_through_the_environment(device: str, seconds: int, start: str) -> None:
    given_settings = settings.from_spark(
        {
            "spark.accel.device": device,
            "spark.accel.daemon.idleTimeout": f"{seconds}s",
            "spark.accel.daemon.start": start,
        },
        {},
    )

    assert settings.from_environment(given_settings.environment()) == given_settings


def test_an_override_by_the_command_line_wins() -> None:
    base = settings.from_environment({"SPARK_ACCEL_DEVICE": "gpu"})

    assert settings.override(base, device="cpu", repository=None).device == "cpu"


def test_a_path_on_the_command_line_is_meant_from_the_working_folder() -> None:
    base = settings.from_environment({})

    found = settings.override(base, repository="models")

    assert found.repository == Path.cwd() / "models"
    assert settings.from_environment(found.environment()).repository == found.repository


@pytest.mark.parametrize(("text", "said"), [("", "expected a path"), ("~nobody-here/models", "home directory")])
def test_a_path_that_is_none_is_not_the_working_folder(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--repository is '{text}': .*{said}"):
        settings.override(settings.from_environment({}), repository=text)


def test_importing_the_package_imports_neither_tensorflow_nor_pyopencl() -> None:
    code = (
        "import sys, spark_accel, spark_accel.functions, spark_accel.client;"
        "print([m for m in ('tensorflow', 'pyopencl', 'keras', 'jax', 'onnx') if m in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_the_documentation_page_is_made_from_the_table() -> None:
    page = Path(__file__).parents[1] / "docs" / "configuration.md"

    assert all(f"`{row.spark}`" in page.read_text() and row.meaning in page.read_text() for row in settings.table())
