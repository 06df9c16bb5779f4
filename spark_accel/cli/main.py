"""The command line `spark-accel`: puts the groups of commands together. Each has a file of its own beside this one."""

import sys
from importlib import import_module

import typer

from spark_accel import __version__
from spark_accel.errors import AccelError

# Loaded by name so that `spark-accel jar` does not wait for what only `model import` needs.
_COMMANDS = ("daemon", "devices", "discover", "model", "kernels", "bench", "fpga", "jar")


class _Application(typer.Typer):
    """Prints errors that are meant for people without a traceback, and ends with status 1."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            return super().__call__(*args, **kwargs)
        except AccelError as error:
            print(f"spark-accel: {error}", file=sys.stderr)
            raise SystemExit(1) from None


app = _Application(
    help="Inference, MLlib's estimators and your own kernels on the accelerators of Spark's nodes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"spark-accel {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


for _name in _COMMANDS:
    import_module(f"spark_accel.cli.{_name}").register(app)
