"""The exceptions that users of the package may catch. Each message names the thing, the value and the remedy."""


class AccelError(Exception):
    """Base of all errors that spark-accel raises on purpose."""


class ConfigurationError(AccelError, ValueError):
    """A setting is unknown or its value can't be used."""


class DaemonError(AccelError):
    """The node daemon can't be started or reached; the message ends with the daemon's own last lines."""


class ModelError(AccelError):
    """A model is missing, broken, or has parts that can't be mapped to the device."""


class DecodeError(AccelError, ValueError):
    """A cell does not hold an image that can be decoded."""


class RegionMemoryError(AccelError, MemoryError):
    """Shared memory for a region can't be had; the message says how much was wanted and where."""
