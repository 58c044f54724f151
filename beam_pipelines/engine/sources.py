"""The Python files of a definition's folder that its functions are made of: the modules they are in, and what those import from the folder.

What a function returns is sampled once and enforced from then on, until its code changes (`Job.code`). Imports are found by how they are
written, not by what is loaded: one that stands within a function may not have been reached yet, and what else a process has loaded from the
folder is no matter of this definition. A regular expression is enough, for a name too many costs a sample at most: five files of 72 kB take
1.2 ms, and parsing them would take 15.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["beside"]

_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*(?:"
    r"from[ \t]+(?P<dots>\.*)[ \t]*(?P<module>[\w.]*)[ \t]+import[ \t]*(?P<names>\([^)]*\)|(?:\\\n|[^\n#;])+)"
    r"|import[ \t]+(?P<modules>(?:\\\n|[^\n#;])+)"
    r")|(?:import_module|__import__)\(\s*['\"](?P<named>[\w.]+)['\"]",
    re.MULTILINE,
)
_COMMENT = re.compile(r"#[^\n]*")
_NAME = re.compile(r"(?:^|,)[\s\\(]*([\w.]+)")
_AS_LOADED: dict[Path, tuple[Any, bytes]] = {}  # by file: the loaded module's spec, and what the file held when it was seen so


def beside(folder: Path, modules: Iterable[str]) -> dict[str, bytes]:
    """Return the files of a folder that modules are made of, with all that they import from it, directly or not.

    Virtual environments in the folder are left out.

    Args:
        folder: The definition's.
        modules: Dotted names; those that are not in the folder are no matter.

    Returns:
        Content by path relative to the folder, sorted. Of what is imported and loaded already it is what was in the file when that was
        first seen, for that code is what runs; `modules` themselves are loaded anew when they were edited.
    """
    folder = folder.resolve()
    found = {file: file.read_bytes() for name in modules for file in _files(folder, name)}
    waiting = list(found)
    while waiting:
        file = waiting.pop()
        for imported in _imported(found[file].decode("utf-8", "replace").replace("\r\n", "\n"), file, folder):
            if imported not in found:
                found[imported] = _content(imported, folder)
                waiting.append(imported)
    return {file.relative_to(folder).as_posix(): found[file] for file in sorted(found)}


def _imported(text: str, file: Path, folder: Path) -> Iterator[Path]:
    """Files of the folder that are imported in a text; that of a module's own package is where its relative imports begin."""
    for match in (match for part in _importing(text) for match in _IMPORT.finditer(part)):
        if match["names"] is None:
            for name in [match["named"]] if match["named"] else _NAME.findall(match["modules"]):
                yield from _files(folder, name)
            continue
        dots = len(match["dots"])
        base = file.parents[min(dots, len(file.parents)) - 1] if dots else folder
        if not base.is_relative_to(folder):
            continue
        stem = [match["module"]] if match["module"] else []
        yield from _files(base, ".".join(stem))
        for name in _NAME.findall(match["names"]):
            yield from _files(base, ".".join([*stem, name]))


def _importing(text: str) -> Iterator[str]:
    """The lines that may import something, each to its end: a fifteenth of the time that the expression takes for the whole text."""
    at = 0
    while (word := text.find("import", at)) >= 0:
        start, end = text.rfind("\n", 0, word) + 1, _line_end(text, word)
        while text[end - 1] == "\\" and end < len(text):
            end = _line_end(text, end + 1)
        if "(" in text[word:end]:
            while ")" not in _COMMENT.sub("", text[word:end]) and end < len(text):
                end = _line_end(text, end + 1)
        yield _COMMENT.sub("", text[start:end])
        at = end


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return found if found >= 0 else len(text)


def _files(base: Path, name: str) -> Iterator[Path]:
    """The files of a module within a folder: those of the packages it is in, and its own; none where it is not there."""
    at = base
    for part in filter(None, name.split(".")):
        module, at = at / f"{part}.py", at / part
        if module.is_file():
            yield module
        if not at.is_dir() or (at / "pyvenv.cfg").exists():
            return
        package = at / "__init__.py"
        if package.is_file():
            yield package


def _content(file: Path, folder: Path) -> bytes:
    parts = file.relative_to(folder).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != file:
        return file.read_bytes()
    known = _AS_LOADED.get(file)
    if known is None or known[0] is not spec:  # reloading gives a module another spec
        known = _AS_LOADED[file] = (spec, file.read_bytes())
    return known[1]
