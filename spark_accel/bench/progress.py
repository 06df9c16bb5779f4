"""What a bench says while it works: lines on standard error, so that results on standard output stay clean."""

import sys


def say(text: str) -> None:
    """One line."""
    print(text, file=sys.stderr, flush=True)
