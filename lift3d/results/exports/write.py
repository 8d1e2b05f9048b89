"""``lift3d export``: what was lifted, in forms that other tools take. A form is a module beside this one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.messages import at_work
from lift3d.results.exports.colmap import export_colmap
from lift3d.results.exports.files import check_free
from lift3d.results.exports.gltf import export_gltf
from lift3d.results.exports.images import export_images
from lift3d.results.exports.nerfstudio import export_nerfstudio
from lift3d.results.exports.ply import export_mesh, export_ply
from lift3d.results.exports.points import export_onto
from lift3d.results.exports.table import export_table
from lift3d.results.exports.zarr import export_zarr
from lift3d.results.lifted_scene import LiftedScene
from lift3d.storage.whole_file import whole

Write = Callable[[LiftedScene, Path], list[str]]


@dataclass(frozen=True, slots=True)
class ExportForm:
    """One way to write a lifted scene.

    Attributes:
        write: Writes it to a path and returns what there is to say, a sentence each.
        suffix: What its name must end in, which means the first form that has it; empty for a folder of any name
            without one of these, which is there when ``write`` is called.
    """

    write: Write
    suffix: str


FORMS: dict[str, ExportForm] = {
    "ply": ExportForm(export_ply, ".ply"),
    "mesh": ExportForm(export_mesh, ".ply"),
    "gltf": ExportForm(export_gltf, ".glb"),
    "parquet": ExportForm(export_table, ".parquet"),
    "images": ExportForm(export_images, ""),
    "colmap": ExportForm(export_colmap, ""),
    "nerfstudio": ExportForm(export_nerfstudio, ""),
    "zarr": ExportForm(export_zarr, ".zarr"),
}
# The form that has a file to be written onto.
_ONTO = "onto"
# What a name without a suffix is.
_FOLDER_FORM = "images"


def export_lifted(
    lifted: LiftedScene, out: Path, form: str | None = None, *, onto: Path | None = None, only: tuple[int, ...] = ()
) -> str:
    """Write a lifted scene in another tool's form, there when it is whole; return the lines to print.

    ``form`` is one of FORMS; told by the suffix of ``out`` if None, and ``images`` without one; ``onto`` of the rows
    of the file ``onto``, and of the labels ``only``, if any are given. Memory is that of one
    stored part (64 views) and, of clouds, the points; ``zarr`` holds all views of a scene that was stored in several
    parts. ConfigError if ``out`` is there (but for an empty folder), cannot be written, or has the suffix of another
    form; Lift3dError if the form lacks what it needs.
    """
    name = _form_of(out, _ONTO if onto is not None and form is None else form)
    if (onto is None) == (name == _ONTO) or (only and onto is None):
        raise ConfigError(
            "The form onto, and it alone, is written onto a .ply of your own, which --onto names, all of it or --only "
            f"some; got the form {name} and {'no file' if onto is None else onto}."
        )
    if onto is not None:
        chosen = ExportForm(lambda lifted, partial: export_onto(lifted, partial, onto, only), ".ply")
    else:
        chosen = FORMS[name]
    check_free(out)
    try:
        with whole(out) as partial, at_work(f"writing {out.name}"):
            if not chosen.suffix:
                partial.mkdir()
            notes = chosen.write(lifted, partial)
            files = partial.rglob("*") if partial.is_dir() else [partial]
            byte_count = sum(one.stat().st_size for one in files if one.is_file())
            check_free(out)
    except OSError as error:
        raise ConfigError(f"'{out}' cannot be written: {error}. Give a name in a folder that takes files.") from error
    first = f"{lifted.title}: {len(lifted.targets)} views as {name}, {decimal(byte_count)}"
    return "\n".join([first, *notes, f"{name:8s} {out}"])


def _form_of(out: Path, asked: str | None) -> str:
    """Return the form that is asked for, else that of a name."""
    suffixes = {form.suffix: name for name, form in reversed(FORMS.items()) if form.suffix}
    suffix = out.suffix.lower()
    if asked is None and suffix in (".nc", ".h5", ".hdf5"):
        raise ConfigError(
            f"'{out}' would be NetCDF or HDF5, which keep neither float16 nor text as they are. Write .zarr, which "
            "xarray opens; what is cast to float32 there can be given to to_netcdf."
        )
    if asked is None and suffix[1:2].isalpha() and suffix not in suffixes:
        raise ConfigError(
            f"'{out}' ends in {suffix}, which is no form of export; expected {', '.join(sorted(suffixes))}, or the "
            f"name of a folder. A folder of this very name: --format {_FOLDER_FORM}."
        )
    name = asked or suffixes.get(suffix, _FOLDER_FORM)
    if name not in (*FORMS, _ONTO):
        raise UnknownNameError.of("form of export", name, (*FORMS, _ONTO))
    wanted = ".ply" if name == _ONTO else FORMS[name].suffix
    if not out.name or (suffix != wanted if wanted else suffix in suffixes):
        expected = f"a name that ends in {wanted}" if wanted else "the name of a folder"
        raise ConfigError(f"'{out}' is no name for the form {name}; expected {expected}.")
    return name
