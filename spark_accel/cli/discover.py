"""`spark-accel discover`: the devices of this node as Spark's resource discovery wants them."""

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def discover(
        kind: Annotated[str, typer.Option(help="fpga, gpu or cpu; also the name of Spark's resource.")] = "fpga",
    ) -> None:
        """Print Spark's resource discovery JSON, for a script of `spark.executor.resource.fpga.discoveryScript`."""
        from spark_accel.daemon import devices  # noqa: PLC0415 - each command loads only what it needs
        from spark_accel.errors import ConfigurationError  # noqa: PLC0415

        if kind not in devices.KINDS:
            raise ConfigurationError(f"--kind is '{kind}', expected one of {', '.join(devices.KINDS)}")
        found = devices.of_kind(devices.discover_in_subprocess(), kind)
        print(json.dumps({"name": kind, "addresses": [one.id for one in found]}))
