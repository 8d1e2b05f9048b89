"""``lift3d export``: what was lifted, in forms that other tools take. A form is a module beside this one."""

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.results.exports.images import export_images
from lift3d.results.exports.nerfstudio import export_nerfstudio
from lift3d.results.exports.ply import export_ply
from lift3d.results.exports.zarr import export_zarr
from lift3d.results.lifted_scene import Choice, LiftedScene
from lift3d.storage.location import Store

Write = Callable[[LiftedScene, Path], list[str]]


@dataclass(frozen=True, slots=True)
class ExportForm:
    """One way to write a lifted scene.

    Attributes:
        write: Writes it to a path and returns what there is to say, a sentence each.
        suffix: What its name must end in; empty for a folder of any name without one of these.
        is_folder: Whether it is a folder, which is there and empty when ``write`` is called.
    """

    write: Write
    suffix: str
    is_folder: bool


FORMS: dict[str, ExportForm] = {
    "ply": ExportForm(export_ply, ".ply", is_folder=False),
    "images": ExportForm(export_images, "", is_folder=True),
    "nerfstudio": ExportForm(export_nerfstudio, "", is_folder=True),
    # Zarr makes its own folder.
    "zarr": ExportForm(export_zarr, ".zarr", is_folder=False),
}
# What a name without a suffix is.
_FOLDER_FORM = "images"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        out: Where.
        form: One of FORMS.
        title: Scene, operator and lifter.
        view_count: Views in it.
        byte_count: Its size.
        notes: What there is to know of it, a sentence each.
    """

    out: Path
    form: str
    title: str
    view_count: int
    byte_count: int
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """Return the lines to print."""
        first = f"{self.title}: {self.view_count} views as {self.form}, {decimal(self.byte_count)}"
        return "\n".join([first, *self.notes, f"{self.form:8s} {self.out}"])


def export_lifted(store: Store | str, choice: Choice, out: Path, form: str | None = None) -> Exported:
    """Write a lifted scene in another tool's form: beside OUT first, and renamed when it is whole.

    Memory is that of one stored part (32 views) and, of clouds, the points; ``zarr`` holds all views of a scene that
    was stored in several parts.

    Args:
        store: The store, or its URL.
        choice: Scene, operator, lifter, run.
        out: File or folder to write; must not be there yet, but for an empty folder.
        form: One of FORMS; told by the suffix of ``out`` if None, and ``images`` without one.

    Raises:
        ConfigError: If ``out`` is there, cannot be written, or has the suffix of another form.
        Lift3dError: If nothing was lifted, or the form lacks what it needs.
    """
    name = _form_of(out, form)
    chosen = FORMS[name]
    _check_free(out)
    lifted = choice.open(store)
    partial = out.with_name(f".{out.name[:40]}-{uuid.uuid4().hex[:8]}{chosen.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if chosen.is_folder:
            partial.mkdir()
        notes = chosen.write(lifted, partial)
        byte_count = _byte_count(partial)
        _check_free(out)
        if out.is_dir():
            out.rmdir()
        os.rename(partial, out)
    except OSError as error:
        raise ConfigError(f"'{out}' cannot be written: {error}. Give a name in a folder that takes files.") from error
    finally:
        _remove(partial)
    title = f"{lifted.name} · {lifted.operator} · {lifted.lifter}"
    return Exported(out, name, title, len(lifted.targets), byte_count, tuple(notes))


def _form_of(out: Path, asked: str | None) -> str:
    """Return the form that is asked for, else that of a name."""
    suffixes = {form.suffix: name for name, form in FORMS.items() if form.suffix}
    suffix = out.suffix.lower()
    if asked is None and suffix in (".nc", ".h5", ".hdf5"):
        raise ConfigError(
            f"'{out}' would be NetCDF or HDF5, which keep neither float16 nor text as they are. Write .zarr, which "
            "xarray opens; what is cast to float32 there can be given to to_netcdf."
        )
    name = asked or suffixes.get(suffix, _FOLDER_FORM)
    if name not in FORMS:
        raise UnknownNameError.of("form of export", name, FORMS)
    wanted = FORMS[name].suffix
    if not out.name or (suffix != wanted if wanted else suffix in suffixes):
        expected = f"a name that ends in {wanted}" if wanted else "the name of a folder"
        raise ConfigError(f"'{out}' is no name for the form {name}; expected {expected}.")
    return name


def _check_free(out: Path) -> None:
    """Refuse to write over anything: what is there may be somebody's."""
    if not os.path.lexists(out):
        return
    is_empty = out.is_dir() and not out.is_symlink() and not any(out.iterdir())
    if not is_empty:
        raise ConfigError(f"'{out}' is there already. Give a new name, an empty folder, or remove it first.")


def _byte_count(path: Path) -> int:
    return sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file())


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    elif os.path.lexists(partial):
        partial.unlink()
