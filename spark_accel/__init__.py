"""spark-accel: ResNet50 inference and MLlib training on the accelerator of a Spark node.

Importing this package imports neither TensorFlow nor pyopencl; see `spark_accel.functions` for `predict`.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`configure`, which imports PySpark, is loaded when it is first asked for."""
    if name == "configure":
        from spark_accel.session import configure  # noqa: PLC0415

        return configure
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
