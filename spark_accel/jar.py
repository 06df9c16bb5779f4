"""Finds the bridge's jar: in the wheel, or where `make jar` leaves it in a checkout."""

from pathlib import Path

from spark_accel.errors import ConfigurationError

_PACKAGE = Path(__file__).parent
_CANDIDATES = (_PACKAGE / "jars" / "spark-accel.jar", _PACKAGE.parent / "jvm-bridge" / "target" / "spark-accel.jar")


def path() -> Path:
    """The jar's absolute path; raises ConfigurationError, with the remedy, where it has not been built."""
    for candidate in _CANDIDATES:
        if candidate.is_file():
            return candidate
    raise ConfigurationError(f"the bridge's jar is not at {_CANDIDATES[-1]}: run `make jar`")
