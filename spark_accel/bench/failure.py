"""What is said of an error that is a line in the results, and not the bench's end."""


def line(error: BaseException) -> str:
    """Its type and the first line of its text."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
