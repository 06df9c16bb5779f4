"""`spark-accel jar`: where the bridge's jar is, for `spark-submit --jars "$(spark-accel jar)"`."""

import typer

from spark_accel.jar import path


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def jar() -> None:
        """Print the path of the jar that goes to Spark's --jars."""
        print(path())
