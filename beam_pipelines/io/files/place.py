"""Where the files of a `file` source or destination are: `path`, or a folder given as bucket with `prefix` and `pattern`."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_pipelines.errors import PlanError
from beam_pipelines.io.connections import Connection

__all__ = ["Place", "matcher"]


@dataclass(frozen=True)
class Place:
    """Files that a definition means.

    Args:
        name: As the definition says it; what messages and the fingerprint show.
        root: Folder that relative names start from, absolute.
        pattern: Names within it: `*` and `?` within one folder, `**` over folders, `[...]` a choice.
        prefix: What names must begin with, literally.
    """

    name: str
    root: Path
    pattern: str
    prefix: str = ""

    @classmethod
    def of(cls, model: Any, connection: Connection | None, folder: Path | None) -> Place:
        """Read it from a model with `path`, or `bucket`, `prefix` and `pattern`.

        Raises:
            PlanError: The bucket is not a folder of this machine.
        """
        if connection is None:
            return cls(model.path, (folder or Path.cwd()).absolute(), model.path)
        if connection.path is None:
            raise PlanError(f"bucket {connection.name!r} is not a folder of this machine: {connection.display}", code="not-served")
        pattern = model.pattern or "**"
        return cls(f"{connection.name}/{model.prefix}{pattern}", connection.path, pattern, model.prefix)

    def files(self, suffixes: tuple[str, ...]) -> list[Path]:
        """The files that are there now, sorted, each once; those whose name begins with `.` or `_` only when it is named in full.

        Args:
            suffixes: What files of a folder must end with, where the definition names the folder alone.

        Raises:
            PlanError: There is none, or one whose name is no text: origins and records could not tell it.
        """
        found = self._by_prefix() if self.prefix or self.pattern == "**" else self._by_pattern(suffixes)
        if not found:
            raise PlanError(f"expected files that match {self.name!r}, found none in {str(self.root)!r}", code="table-missing")
        for file in found:
            if str(file) != str(file).encode("utf-8", "replace").decode("utf-8"):
                raise PlanError(f"expected a file name in UTF-8, got {str(file)!a}: rename it", code="option-invalid")
        return found

    def label(self, file: Path) -> str:
        """A file's name for origins and messages: within the root where it is there."""
        return file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else str(file)

    def _by_pattern(self, suffixes: tuple[str, ...]) -> list[Path]:
        whole = self.root / Path(self.pattern).expanduser()
        if whole.is_file():
            return [whole]
        if whole.is_dir():
            return sorted(file for file in whole.iterdir() if file.name.lower().endswith(suffixes) and _shown(file))
        return sorted({Path(name) for name in glob.glob(str(whole), recursive=True) if os.path.isfile(name) and _shown(Path(name))})

    def _by_prefix(self) -> list[Path]:
        matches = matcher(self.pattern)
        found = []
        for folder, _, names in os.walk(self.root):
            for name in names:
                file = Path(folder, name)
                key = file.relative_to(self.root).as_posix()
                if key.startswith(self.prefix) and matches.fullmatch(key[len(self.prefix) :]) and _shown(file):
                    found.append(file)
        return sorted(found)


def _shown(file: Path) -> bool:
    return not file.name.startswith((".", "_"))


def matcher(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression over a whole name: `*` and `?` stay within a folder, `**/` and `**` do not."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", pattern)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(special.get(part) or _choice(part) or re.escape(part) for part in parts))


def _choice(part: str) -> str:
    if len(part) < 3 or not (part.startswith("[") and part.endswith("]")):
        return ""
    inside = part[1:-1].replace("\\", "\\\\")
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
