"""One thing that the doctor looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it is as it should be, and what to do if not."""

    subject: str
    is_fine: bool
    detail: str
    remedy: str = ""

    def to_text(self) -> str:
        """Return one line, with the remedy where there is something to mend."""
        return f"{'ok  ' if self.is_fine else 'BAD '} {self.subject}: {self.detail}" + (
            "" if self.is_fine else f" → {self.remedy}"
        )
