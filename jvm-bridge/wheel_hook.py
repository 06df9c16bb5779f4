"""Puts the bridge's jar into the wheel, where it has been built (`make jar`), as `spark_accel/jars/spark-accel.jar`."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class JarHook(BuildHookInterface):  # type: ignore[type-arg]
    """Refuses to build a wheel without the jar: `spark-accel jar` would have nothing to print."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; an editable install finds the jar in its build folder."""
        jar = Path(self.root) / "jvm-bridge" / "target" / "spark-accel.jar"
        if version == "editable":
            return
        if not jar.exists():
            raise FileNotFoundError(f"{jar} is missing: run `make jar` first")
        build_data["force_include"][str(jar)] = "spark_accel/jars/spark-accel.jar"
