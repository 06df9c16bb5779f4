"""Whether a folder can be written, before work is done that would be lost if it can't."""

import os
from pathlib import Path


def obstacle(folder: Path) -> str:
    """Why this user plainly can't write in a folder, or make one that is not there; empty if nothing is in the way."""
    absolute = folder.absolute()
    try:
        existing = next(path for path in (absolute, *absolute.parents) if path.exists())
    except OSError as error:  # a folder where nobody may look
        return str(error)
    if not existing.is_dir():
        return f"{existing} is no folder"
    return "" if os.access(existing, os.W_OK) else f"{existing} is not yours to write in"
