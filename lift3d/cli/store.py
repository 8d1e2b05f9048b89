"""What ``lift3d fsck`` and ``lift3d gc`` print."""

from rich.filesize import decimal

from lift3d.runs.check_store import Findings
from lift3d.runs.collect_garbage import Collected
from lift3d.storage.garbage import Kind

_KINDS: dict[Kind, str] = {
    "unfinished": "products that were begun and never finished",
    "leftover": "products' objects that they do not list",
    "probe": "probes",
    "partial": "writes that were never finished",
    "product": "products that no run names",
}


def findings_text(found: Findings) -> str:
    """Return the findings as lines, the verdict last."""
    how = "every byte read" if found.has_checksums else "names and sizes"
    lines = [
        f"whole        {found.products['whole']} products, {decimal(found.byte_count)} ({how})",
        f"damaged      {len(found.damage)}",
        *(f"  ✗ {sentence}" for damage in found.damage.values() for sentence in damage),
        f"uncommitted  {found.leftover_count} products begun or with leftovers, {decimal(found.leftover_bytes)}"
        + (" ('lift3d gc' deletes those that are old)" if found.leftover_count else ""),
        f"records      {found.records}, {len(found.gone)} name products that are gone",
        *(f"  ✗ {key} names {path}" for key, paths in found.gone.items() for path in paths),
        *(f"  ✗ {key} {problem}" for key, problem in found.unreadable.items()),
    ]
    if found.repaired:
        lines.append(f"repaired     {len(found.repaired)} products taken back; the next run computes them anew")
    elif found.damage:
        option = " --checksums" if found.has_checksums else ""
        lines.append(f"Run 'lift3d fsck {found.store}{option} --repair', then the same 'lift3d run' again.")
    elif not found.is_clean:
        lines.append("Run the same 'lift3d run' again: what is gone is computed anew.")
    else:
        lines.append("clean" if found.has_checksums else "clean by names and sizes; --checksums reads every byte")
    return "\n".join(lines)


def garbage_text(deleted: Collected) -> str:
    """Return what was deleted, or would be, as lines."""
    verb = "would delete" if deleted.is_dry else "deleted"
    lines = [f"{verb} {count} {_KINDS[kind]}" for kind, count in sorted(deleted.pieces.items())]
    total = f"{deleted.object_count} objects, {decimal(deleted.byte_count)}, all older than {deleted.older_than_h:g} h"
    return "\n".join([*lines, total] if lines else [f"nothing that is older than {deleted.older_than_h:g} h"])
