"""What became of the files of a run, of services whose unit is the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["KEPT_FILES", "Files"]

KEPT_FILES = 1000  # files that a record tells of; the ledger knows all


@dataclass(frozen=True)
class Files:
    """Counts of files, and what is told of each.

    Args:
        processed: Files whose rows the target has.
        records: Rows written of them.
        bytes: Their size, as stored.
        skipped: Files that were there, and that earlier runs are done with.
        waiting: Of those skipped: files that could not be read, and have not changed since.
        failed: Files that could not be read.
        told: Of at most `KEPT_FILES` files what became of each, those that failed first, as `runs.file.FileResult.to_json` tells it; None:
            not asked for.
        hidden: Files that are left out, for their name begins with `.` or `_`.
        closed: Folders of the source that cannot be read.
        gone: Files whose outputs were written, where the folder of all outputs is not there any more.
    """

    processed: int = 0
    records: int = 0
    bytes: int = 0
    skipped: int = 0
    waiting: int = 0
    failed: int = 0
    told: tuple[dict[str, Any], ...] | None = ()
    hidden: int = 0
    closed: int = 0
    gone: int = 0

    def counts(self) -> dict[str, int]:
        """The numbers by the names of the record; the first three are those that the seed's function returns."""
        return {
            "filesProcessed": self.processed,
            "totalRecords": self.records,
            "totalBytes": self.bytes,
            "filesSkipped": self.skipped,
            "filesWaiting": self.waiting,
            "filesFailed": self.failed,
            "filesHidden": self.hidden,
            "foldersUnreadable": self.closed,
            "outputsGone": self.gone,
        }

    def to_json(self) -> dict[str, Any]:
        """As a part of the record."""
        told = {} if self.told is None else {"filesShown": len(self.told), "files": list(self.told)}
        return {**self.counts(), **told}

    @classmethod
    def of(cls, counts: dict[str, int] | None) -> Files | None:
        """What was recorded, without what is told of each file; None: the run has no account of files."""
        if counts is None:
            return None
        # Runs of earlier releases have not counted all of them.
        processed, records, size, skipped, waiting, failed, hidden, closed, gone = (counts.get(name, 0) for name in cls().counts())
        return cls(processed, records, size, skipped, waiting, failed, None, hidden, closed, gone)
