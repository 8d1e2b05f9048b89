"""How much memory the workers of one machine, or of one container, may take together. Light: no torch."""

from pathlib import Path

import psutil

# Limits of a container: of the second and of the first version of control groups.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# The rest is the system's, and the driver's.
_USABLE = 0.85


def node_memory_bytes() -> int:
    """Return what all workers of this machine may take together."""
    held = [int(psutil.virtual_memory().total)]
    for path in map(Path, _LIMITS):
        limit = path.read_text(encoding="ascii").strip() if path.is_file() else ""
        held += [int(limit)] if limit.isdecimal() else []
    return int(_USABLE * min(held))


def share_of_node(allowed_bytes: int, workers: int) -> int:
    """Return the largest peak that each of so many workers of this machine may have, all at once."""
    return min(allowed_bytes, node_memory_bytes() // workers)
