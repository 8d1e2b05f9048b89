"""``docs/storage.md``: the libraries, what a run does when a store fails, and ``lift3d bench storage``."""

import importlib.metadata
import os
from datetime import UTC, datetime

from lift3d.bench.storage import LocalCase, ServiceCase, StorageFigures
from lift3d.errors import StoreError, StoreFullError, StoreRefusedError, StoreUnavailableError
from lift3d.storage.backends import TIMEOUTS
from lift3d.storage.retry_policy import MOST_AT_ONCE

# What products should at least reach of plain Zarr's throughput on a local disk.
BAR = 0.7
_SCENE_VIEWS = 200
_DISTRIBUTIONS = ("zarr", "s3fs")

_HEAD = """# Storage

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}, {packages}, {cores} cores, load average {load:.1f} (five minutes).

What lies where, how many objects that makes, and why not Icechunk: [The store](store.md).

## Libraries

Local paths and `memory://` need no library of their own; `s3://` is served by s3fs (`pip install 'lift3d[cluster]'`).
botocore looks for credentials in the environment, in the files of AWS and with the machine's role; `AWS_ENDPOINT_URL`
names a service that is not AWS.

[obstore](https://developmentseed.org/obstore/) 0.12.1 wrote at 1.12 to 1.20 and read at 0.99 to 1.12 of the speed of
s3fs 2026.9.0 on OpenStack Swift on the same machine. That is not worth a second client.

## When a store fails

| what happens | what a run does | then |
| --- | --- | --- |
{failures}

A run finds a missing bucket, a refused key, a full disk and a folder that it may not write before it starts anything.
Waits are drawn at random below a bound that doubles from {first:g} s. At most {most} requests of a process run at once;
while the service asks for fewer, that number halves with each such answer, and grows again by one after as many
successes as run. One try of a request has {silence:g} s for the next bytes and, as a whole, as long as its bytes take
at {rate:g} MiB/s and {double:g} s more, {operation:g} s at most. An answer that is shorter than announced is asked for
again; one that differs from the manifest is read once more and then an error, never a result.

A local disk is not asked to sync: processes may be killed at any time and nothing is lost, but a machine that loses
power may lose what it wrote in its last seconds. Such a product is missing, and computed again, or it differs from its
manifest, and `lift3d fsck` finds it.
"""


def page(figures: StorageFigures, server: str = "") -> str:
    """Return the figures as Markdown.

    Args:
        figures: Those of ``measure``.
        server: What serves the store on a service, for the reader.
    """
    command = "lift3d bench storage" + (" --s3 s3://BUCKET/PREFIX" if figures.service else "")
    head = _HEAD.format(
        command=f'{command} --server "{server}"' if server else command,
        date=datetime.now(UTC).date().isoformat(),
        version=importlib.metadata.version("lift3d"),
        packages=", ".join(filter(None, map(_version, _DISTRIBUTIONS))),
        cores=os.cpu_count(),
        load=figures.load,
        failures="\n".join(_failures()),
        first=TIMEOUTS.first_wait_s,
        most=MOST_AT_ONCE,
        silence=TIMEOUTS.silence_s,
        double=2 * TIMEOUTS.silence_s,
        rate=TIMEOUTS.slowest_bytes_per_s / 2**20,
        operation=TIMEOUTS.operation_s,
    )
    sections = [head, _bytes(figures), _local(figures)]
    if figures.service:
        sections.append(_service(figures.service, figures.service_repeats, server))
    return "\n".join(sections)


def _failures() -> list[str]:
    rows: list[tuple[str, str, type[StoreError]]] = [
        ("no answer, half an answer, 5xx", f"asks again for {TIMEOUTS.unreachable_s:g} s", StoreUnavailableError),
        ("503 SlowDown, 429", f"asks again for {TIMEOUTS.busy_s:g} s, fewer at once", StoreUnavailableError),
        ("401, 403, an expired or wrong key", "connects anew, once, for fresh credentials", StoreRefusedError),
        ("no such bucket, a folder that may not be written", "nothing", StoreRefusedError),
        ("no space, quota used up", "nothing", StoreFullError),
    ]
    return [f"| {what} | {does} | `{kind.__name__}`: {kind.disposition} |" for what, does, kind in rows]


def _bytes(figures: StorageFigures) -> str:
    one = figures.per_view
    channels, rows, cols = one.features_shape
    height, width = one.image
    lines = [
        "## Bytes per view",
        "",
        f"`{figures.operator}` on {height}×{width} pixels: {rows}×{cols} cells of {channels} channels, float16.",
        "",
        f"| | bytes | MiB | {_SCENE_VIEWS} views, GiB |",
        "| --- | ---: | ---: | ---: |",
    ]
    counted = [
        ("features, as a plan counts them (`lift3d run --dry-run`)", one.planned_features),
        ("features, uncompressed", one.template),
        ("features, stored", one.stored_chunks),
        (f"product of one view, all {one.objects} objects", one.stored),
        ("one lifted view, as a plan counts it", one.planned_lifted),
    ]
    for name, count in counted:
        lines.append(f"| {name} | {count:,} | {count / 2**20:.2f} | {count * _SCENE_VIEWS / 2**30:.2f} |")
    return "\n".join([*lines, ""])


def _local(figures: StorageFigures) -> str:
    lines = [
        "## On a local disk, against plain Zarr",
        "",
        f"MiB/s of uncompressed features, medians of {figures.repeats} turns; the ratio is that within a turn.",
        "Plain Zarr has the same chunks and codecs, no manifest, no marker and no check beyond its own. Reads come",
        f"from the memory of the system. Products should reach {BAR:.0%} of plain Zarr.",
        "",
        "| | write, product | plain | ratio | read, product | plain | ratio | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for case in figures.local:
        verdict = "reached" if min(case.ratio.write, case.ratio.read) >= BAR else "missed"
        lines.append(
            f"| {_case(case)} | {case.product.write:.0f} | {case.plain.write:.0f} | {case.ratio.write:.2f} "
            f"| {case.product.read:.0f} | {case.plain.read:.0f} | {case.ratio.read:.2f} | {verdict} |"
        )
    return "\n".join([*lines, ""])


def _service(service: tuple[ServiceCase, ...], repeats: int, server: str) -> str:
    lines = [
        "## On a service",
        "",
        f"{server or 'The service'}. MiB/s, medians of {repeats} turns.",
        "",
        "| | write | read |",
        "| --- | ---: | ---: |",
    ]
    for case in service:
        at_once = f", {case.writers} at once" if case.writers > 1 else ""
        lines.append(f"| {_case(case)}{at_once} | {case.product.write:.0f} | {case.product.read:.0f} |")
    return "\n".join([*lines, ""])


def _case(case: LocalCase | ServiceCase) -> str:
    return f"{case.products} products of one view" if case.views == 1 else f"one product of {case.views} views"


def _version(distribution: str) -> str:
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return ""
