"""What becomes of a product that is found damaged: it is taken back, and whoever needs it computes it again."""

from collections.abc import Callable
from typing import TypeVar

from lift3d.errors import DamagedProductError, ProductMissingError
from lift3d.storage.commit import verify, withdraw
from lift3d.storage.location import Store

Outcome = TypeVar("Outcome")


def mended(store: Store, work: Callable[[], Outcome]) -> Outcome:
    """Do work that reads products and makes those that are missing; do it again where it finds one damaged.

    Args:
        store: Where the products are.
        work: What to do; it is done once more for every product that is taken back.

    Raises:
        DamagedProductError: If a product is found damaged for a second time.
    """
    retracted: set[str] = set()
    while True:
        try:
            return work()
        except DamagedProductError as error:
            if error.product is None or error.product in retracted:
                raise
            retracted.add(error.product)
            retract(store, error.product)


def retract(store: Store, path: str) -> bool:
    """Take back a product that is damaged, so that it is computed again. Safe while others work on it.

    Its bytes are compared first: what another worker has replaced by now, and so is whole, stays. Attempts that
    are in progress stay as well.

    Returns:
        Whether a marker was deleted.
    """
    try:
        verify(store, path, checksums=True)
    except ProductMissingError:
        return False
    except DamagedProductError:
        withdraw(store, path)
        return True
    return False
