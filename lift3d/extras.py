"""Optional packages: one sentence names the extra that brings what is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lift3d.errors import MissingExtraError

Extra = Literal["cluster", "train", "transformers", "view"]
_OURS = ("lift3d", "flows")


@contextmanager
def extra(name: Extra) -> Iterator[None]:
    """Import optional packages in the block.

    Args:
        name: The extra of ``pyproject.toml`` that brings them.

    Raises:
        MissingExtraError: If one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or _OURS[0]).partition(".")[0] in _OURS:
            raise
        raise MissingExtraError(
            f"This needs the package {error.name}, which is not installed. Install it with: {install(name)}."
        ) from error


def install(name: Extra) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'lift3d[{name}]'"
