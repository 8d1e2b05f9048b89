"""Where checkpoints lie. Light: a run is planned, and its digest computed, without a network being built."""

import functools
import hashlib
from pathlib import Path

from lift3d.errors import ConfigError

FOLDER = Path(__file__).parent / "checkpoints"
DEFAULT = "dinov2"
_SUFFIX = ".safetensors"


def packaged() -> tuple[str, ...]:
    """Return the names of the checkpoints that ship with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{_SUFFIX}")))


def checkpoint_path(name: str) -> Path:
    """Return the file of a packaged checkpoint, or the path given; ConfigError if there is no such file."""
    path = Path(name) if name.endswith(_SUFFIX) else FOLDER / f"{name}{_SUFFIX}"
    if not path.is_file():
        raise ConfigError(
            f"There is no checkpoint '{name}'. Expected one of {', '.join(packaged()) or '(none is packaged)'} or the "
            f"path of a {_SUFFIX} file that `lift3d train` wrote."
        )
    return path


def checkpoint_digest(name: str) -> str:
    """Return the content digest of a checkpoint's file; ConfigError if there is none."""
    path = checkpoint_path(name)
    state = path.stat()
    return _digest_of(str(path), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _digest_of(path: str, modified_ns: int, size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
