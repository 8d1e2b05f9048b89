"""Whether this machine, and what it is connected to, can run lift3d, and what to do where not."""

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial

from packaging.requirements import Requirement

from lift3d.cli import doctor_services
from lift3d.cli.doctor_services import Finding
from lift3d.extras import install
from lift3d.messages import at_work


def examine(dashboard: str | None = None, store: str | None = None) -> Iterator[Finding]:
    """Look at versions, torch, the encoders' libraries, disk space, and the services that a run would use."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "packages": _requirements,
        "torch": _torch,
        "the encoders' libraries": _encoders,
        "ray": _ray_auth,
        "disk": _disk,
        "prefect": _prefect,
        "ray's dashboard": partial(doctor_services.ray_dashboard, dashboard),
        "the store": partial(doctor_services.store, store),
    }
    for what, check in checks.items():
        # Each one is told as soon as it is known: importing what is looked at takes seconds.
        with at_work(f"looking at {what}"):
            found = check()
        yield from found


def _requirements() -> list[Finding]:
    wrong = []
    for text in importlib.metadata.requires("lift3d") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    remedy = "pip install -c constraints.txt -e '.[dev]' in a fresh virtual environment"
    return [Finding("packages", not wrong, "; ".join(wrong) or "all within their ranges", remedy)]


def _torch() -> list[Finding]:
    import torch

    devices = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "CPU"
    return [Finding("torch", True, f"{torch.__version__}, {devices}, {torch.get_num_threads()} threads")]


def _encoders() -> list[Finding]:
    from lift3d.torchvision_guard import HOOK, ensure_torchvision

    has_ops = ensure_torchvision()
    import timm

    detail = f"timm {timm.__version__} imports, torchvision's compiled operators are {'there' if has_ops else 'absent'}"
    if not has_ops and importlib.util.find_spec(HOOK) is None:
        detail += "; before lift3d, timm and open_clip import only after 'python -m lift3d.torchvision_guard'"
    return [Finding("encoders", True, detail)]


def _ray_auth() -> list[Finding]:
    mode, address = (os.environ.get(name, "") for name in ("RAY_AUTH_MODE", "RAY_ADDRESS"))
    version = _version("ray")
    if version is None:
        return [_without("ray", is_needed=bool(address))]
    detail = f"{version}, RAY_ADDRESS={address or 'unset'}, RAY_AUTH_MODE={mode or 'unset'}"
    remedy = "a cluster runs any code it is sent: set RAY_AUTH_MODE=token on the cluster and here"
    return [Finding("ray", not address or mode == "token", detail, remedy)]


def _prefect() -> list[Finding]:
    version = _version("prefect")
    try:
        api = doctor_services.prefect_api()
    except ValueError as error:
        # Prefect's own words are many lines, the second names the setting.
        said = " ".join(str(error).split())
        return [Finding("prefect", False, f"{version}, its settings are invalid: {said}", "see prefect config view")]
    if version is None:
        return [_without("prefect", is_needed=bool(api))]
    detail = f"{version}, {f'server {api}' if api else 'a temporary server for each run'}"
    return [Finding("prefect", True, detail), *doctor_services.prefect_server(api)]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _without(package: str, is_needed: bool) -> Finding:
    return Finding(package, not is_needed, "not installed; runs stay in this process", install("cluster"))


def _disk() -> list[Finding]:
    free_gib = shutil.disk_usage(".").free / 2**30
    remedy = "free some space, or give a store elsewhere"
    return [Finding("disk", free_gib > 2, f"{free_gib:.0f} GiB free here", remedy)]
