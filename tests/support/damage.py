"""What a disk, a network or a hand does to an object of a store."""

from lift3d.storage.location import Store


def flip(store: Store, key: str, part: int = 2) -> None:
    content = bytearray(store.read_bytes(key))
    content[len(content) // part] ^= 1
    store.write_bytes(key, bytes(content))


def empty(store: Store, key: str) -> None:
    store.write_bytes(key, b"")


def cut(store: Store, key: str) -> None:
    store.write_bytes(key, store.read_bytes(key)[:-1])


def delete(store: Store, key: str) -> None:
    store.delete_prefix(key)
