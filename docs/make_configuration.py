"""Makes docs/configuration.md from the settings table; `--check` only says whether it is fresh."""

import sys
from pathlib import Path

from spark_accel import settings

PAGE = Path(__file__).with_name("configuration.md")
HEAD = """# Configuration

<!-- made from spark_accel/settings.json by `make docs`; edit that file -->

A key is set in Spark (`--conf spark.accel.device=cpu`) or, where Spark does not run the code, in the environment
(`SPARK_ACCEL_DEVICE=cpu`); Spark's value wins. An unknown `spark.accel.` or `SPARK_ACCEL_` name is an error that
suggests the nearest known one. Times take `ms`, `s`, `min`, `h`; sizes `k`, `m`, `g`, `t` (powers of 1024).

The daemon reads its settings when it starts. An application that attaches to a running daemon uses the repository, the
devices, the kernels, the memory folder and limit and the idle time of that daemon, and what that daemon does where
there is no device (`spark.accel.fallback`); of its own it has what it does with a fit that no device can do.

| Spark key | environment | default | meaning |
|---|---|---|---|
"""


def page() -> str:
    """The text of the page."""
    return HEAD + "".join(map(_row, settings.table()))


def _row(row: settings.Key) -> str:
    meaning = (
        f"{row.meaning} One of {', '.join(f'`{one}`' for one in row.choices)}." if row.type == "choice" else row.meaning
    )
    default = f"`{row.default}`" if row.default else "empty"
    return f"| `{row.spark}` | `{row.environment}` | {default} | {meaning} |\n"


def main() -> None:
    """Writes or checks the page."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE} is not what the settings table says: run `make docs`")


if __name__ == "__main__":
    main()
