"""Is everything there that the group files of a store and the records of its runs promise?"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from lift3d.errors import DamagedProductError
from lift3d.runs.progress import track
from lift3d.runs.records import read_rows, recorded
from lift3d.storage.audit import AuditedProduct, audit_folder, audit_product, folders
from lift3d.storage.location import open_store
from lift3d.storage.repair import retract


@dataclass
class Findings:
    """What was found so far; by record, what it names and is gone, and why it cannot be read.

    Attributes:
        leftover_count: Products that hold objects which no group file lists: begun, and at work or given up.
        damage: By product, a sentence for every object that is not what was committed.
    """

    store: str
    has_checksums: bool
    products: Counter[str] = field(default_factory=Counter)
    byte_count: int = 0
    leftover_count: int = 0
    leftover_bytes: int = 0
    damage: dict[str, list[str]] = field(default_factory=dict)
    records: int = 0
    gone: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    repaired: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether everything that a marker or a record promises is there."""
        return not (self.damage or self.gone or self.unreadable)

    def add(self, product: AuditedProduct) -> None:
        """Count a product."""
        self.products[product.verdict] += 1
        self.byte_count += product.byte_count
        self.leftover_count += bool(product.leftovers)
        self.leftover_bytes += sum(info.size for info in (product.leftovers or {}).values())
        if product.damage:
            self.damage[product.path] = list(product.damage)

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON-ready values."""
        return {"is_clean": self.is_clean, **asdict(self), "products": dict(self.products)}


def check_store(url: str, checksums: bool, run_id: str | None = None, repair: bool = False) -> Findings:
    """Walk a store, or what the records of one run name, with progress on standard error.

    With checksums every byte is read. Repairing takes back what is damaged, so that the next run computes it again.
    """
    store = open_store(url)
    findings = Findings(store.url, checksums)
    # Hashes, for there may be millions of paths.
    present: set[int] = set()
    if run_id is None:
        for folder in track(folders(store), "folders"):
            for product in audit_folder(store, folder, checksums):
                findings.add(product)
                if product.marked is not None:
                    present.add(hash(product.path))
    for run, key, record in track(recorded(store, run_id), "records"):
        findings.records += 1
        if record is None:
            findings.unreadable[key] = "is not the record of a scene"
            continue
        try:
            read_rows(store, run, record)
        except DamagedProductError as error:
            findings.unreadable[key] = f"names score rows that cannot be read. {error}"
        new = [path for path in record.paths if hash(path) not in present]
        # In a walk through everything, what is new was committed after its scene was listed.
        audited = [audit_product(store, path, checksums) for path in new]
        for product in audited:
            if product.verdict != "missing":
                findings.add(product)
        present |= {hash(product.path) for product in audited if product.marked is not None}
        gone = [product.path for product in audited if product.marked is None]
        if gone:
            findings.gone[key] = gone
    if repair:
        findings.repaired = [path for path in findings.damage if retract(store, path)]
    return findings
