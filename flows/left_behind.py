"""A folder for the Ray of one process, that goes with it and takes along whatever still runs there. Light."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Sockets have paths of 107 characters at most, and folders of users may be deep.
_SHORT_FOLDER = "/tmp"
_END_S = 10.0
# Ends when nobody holds the other end of standard input any more: the process is done, or was killed. Of a Ray whose
# driver was killed some agents would look for its state for more than a minute; by then nobody knows whose they were.
_WATCH = """
import os, select, shutil, sys
import psutil
folder, parent, own = sys.argv[1], psutil.Process(os.getppid()), psutil.Process()
known = set()
while not select.select([0], [], [], 1.0)[0]:
    try:
        for process in set(parent.children(recursive=True)) - known - {own}:
            if process.name().startswith("ray::") or folder in " ".join(process.cmdline()[1:]):
                known.add(process)
    except psutil.Error:
        pass
for process in known:
    try:
        process.kill()
    except psutil.Error:
        pass
shutil.rmtree(folder, ignore_errors=True)
"""


@contextmanager
def own_folder() -> Iterator[Path]:
    """Give the block a folder that nobody else may enter, not Ray's own, which it opens to all users."""
    folder = tempfile.mkdtemp(prefix="lift3d-ray-", dir=_SHORT_FOLDER if os.path.isdir(_SHORT_FOLDER) else None)
    end, held = os.pipe()
    # Of a session of its own: Ctrl-C is for this process, which then ends Ray.
    watch = subprocess.Popen([sys.executable, "-c", _WATCH, folder], stdin=end, start_new_session=True)
    os.close(end)
    try:
        yield Path(folder)
    finally:
        os.close(held)
        watch.wait(_END_S)
