"""A definition from a file, a text or a mapping, with every mistake at its line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from beam_pipelines.errors import Problem, SpecError
from beam_pipelines.spec import document
from beam_pipelines.spec.definition import Definition
from beam_pipelines.spec.position import Position, Positions, format_path, parse_path
from beam_pipelines.spec.values import masked_urls, slug

__all__ = ["Loaded", "load", "loads", "parse"]


@dataclass(frozen=True)
class Loaded:
    """A definition and where it was read.

    Args:
        definition: The model.
        path: The file, as given; None for a text or a mapping.
        text: What was read; empty for a mapping.
        name: What problems call it.
        positions: Where each key and value stands.
    """

    definition: Definition
    path: Path | None = None
    text: str = field(default="", repr=False)
    name: str = "definition"
    positions: Positions = field(default_factory=Positions, repr=False, compare=False)

    @property
    def folder(self) -> Path | None:
        """Folder that relative paths, functions and connections are looked up in; None without a file."""
        return None if self.path is None else self.path.absolute().parent

    @property
    def is_json(self) -> bool:
        """Whether the text was read as JSON."""
        return _reads_as_json(self.path, self.text)

    def position(self, path: str | Sequence[str | int]) -> Position:
        """Return where a path such as `pipeline.transformations[0].handler` stands, or its nearest known ancestor."""
        return self.positions.find(parse_path(path))

    def problem(self, path: str | Sequence[str | int], message: str, hint: str = "") -> Problem:
        """Return a problem at a path, with its file, line and column, for errors found after loading.

        Args:
            path: Keys from the root, such as `pipeline.source.query`, or a sequence of keys and positions.
            message: What was expected and what came.
            hint: What to do.
        """
        parts = parse_path(path)
        place = self.positions.find(parts)
        return Problem(message, path=format_path(parts), file=self.name, line=place.line, column=place.column, hint=hint)


def load_rules(path: str | os.PathLike[str]) -> Loaded:
    """Read rules from a file, as the definition of a service that holds rows against them; where the rows are it does not say.

    Args:
        path: A list of rules, or a mapping of `rules` and `actions`; YAML, or JSON by its suffix or content. The service has its name.

    Raises:
        SpecError: As `load`.
    """
    text = _text(path)
    read = document.read(text, str(path), is_json=_reads_as_json(Path(path), text))
    above: tuple[str, ...] = ("validation",) if isinstance(read.value, Mapping) else ("validation", "rules")
    places = Positions(*({(*above, *place): at for place, at in known.items()} for known in (read.positions.keys, read.positions.values)))
    places.values.setdefault((), Position(1, 1))
    section = read.value if isinstance(read.value, Mapping) else {"rules": read.value}
    definition = document.Document(
        {"id": slug(Path(path).stem) or "rules", "name": Path(path).stem, "validation": section}, places, read.problems
    )
    return _validated(definition, str(path), Path(path), text)


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a definition from a file.

    Args:
        path: YAML, or JSON by its suffix `.json` or by its content.

    Raises:
        SpecError: The file cannot be read (code `spec-unreadable`), or holds mistakes: all of them are in `problems`, in the
            order of the file (code `spec-invalid`).
    """
    return loads(_text(path), str(path), path=Path(path))


def _text(path: str | os.PathLike[str]) -> str:
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(document.MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise SpecError(f"expected a definition at {str(path)!r}, got: {reason}", code="spec-unreadable") from error
    if len(content) > document.MAX_BYTES:
        raise SpecError(f"expected a definition of at most 1 MiB at {str(path)!r}, got a larger file", code="spec-unreadable")
    return _decoded(content, str(path))


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        problem = Problem(f"expected UTF-8, got the byte 0x{content[error.start]:02x}", file=name, line=line, column=column)
        raise SpecError(f"cannot read {name}", problems=[problem], code="spec-unreadable") from error


def loads(text: str, name: str = "definition", *, path: Path | None = None) -> Loaded:
    """Read a definition from a text.

    Args:
        text: YAML or JSON.
        name: What problems call it.
        path: The file that it came from, if any.

    Raises:
        SpecError: As `load`.
    """
    if len(text) > document.MAX_BYTES:
        raise SpecError(f"expected a definition of at most 1 MiB in {name}, got a larger text", code="spec-unreadable")
    read = document.read(text, name, is_json=_reads_as_json(path, text))
    return _validated(read, name, path, text)


def _reads_as_json(path: Path | None, text: str) -> bool:
    return (path is not None and path.suffix.lower() == ".json") or _is_json(text)


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def parse(data: Mapping[str, Any], name: str = "definition", *, path: Path | None = None) -> Loaded:
    """Read a definition from a mapping, as Python code may hold it.

    Args:
        data: Keys as in a file, or the Python names.
        name: What problems call it.
        path: A file whose folder holds functions and connections, if any.

    Raises:
        SpecError: It holds mistakes: all of them are in `problems`.
    """
    return _validated(document.Document(value=data), name, path, "")


def _validated(read: document.Document, name: str, path: Path | None, text: str) -> Loaded:
    problems = list(read.problems)
    definition: Definition | None = None
    if read.value is None and not problems:
        problems.append(Problem("expected a definition, got an empty document", file=name, line=1 if text else 0, column=1 if text else 0))
    elif isinstance(read.value, Mapping):
        try:
            definition = Definition.model_validate(read.value)
        except ValidationError as error:
            problems += [_problem(details, read.positions, name) for details in error.errors(include_url=False)]
    elif not problems:
        place = read.positions.find(())
        problems.append(Problem("expected a mapping of keys, got something else", file=name, line=place.line, column=place.column))
    if problems or definition is None:
        problems = [_masked(problem) for problem in sorted(problems, key=lambda problem: (problem.line, problem.column))]
        count = f"{len(problems)} mistakes" if len(problems) > 1 else "a mistake"
        raise SpecError(f"{name} has {count}", problems=problems)
    return Loaded(definition, path, text, name, read.positions)


def _masked(problem: Problem) -> Problem:
    """Return a problem without the credentials of URLs, wherever somebody wrote one (even as a key)."""
    return replace(problem, message=masked_urls(problem.message), path=masked_urls(problem.path), hint=masked_urls(problem.hint))


def _problem(details: Any, positions: Positions, name: str) -> Problem:
    context = details.get("ctx", {})
    location = details["loc"]
    place = positions.find(location, context.get("at", "value"))
    return Problem(
        context.get("message", details["msg"]),
        path=format_path(location),
        file=name,
        line=place.line,
        column=place.column,
        hint=context.get("hint", ""),
    )
