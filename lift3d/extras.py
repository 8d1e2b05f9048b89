"""Optional packages: one sentence names the extra that brings what is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lift3d.errors import MissingExtraError

Extra = Literal["cluster", "phone", "splats", "train", "transformers", "view"]
_OURS = ("lift3d", "flows")


@contextmanager
def extra(name: Extra) -> Iterator[None]:
    """Import optional packages in the block; MissingExtraError names the extra that brings what is not installed."""
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


def only_in_checkout(what: str, folder: str) -> MissingExtraError:
    """Say of what the package leaves out, such as "The trainings of the small models", in which folder it lies."""
    return MissingExtraError(
        f"{what} are not part of the installed package; expected {folder}. Clone the repository, install it with "
        "'pip install -e .', and run the same command there."
    )
