"""Which state store, and which service, a command is about."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beam_pipelines.cli.session import Session
from beam_pipelines.errors import SpecError

if TYPE_CHECKING:
    from beam_pipelines.etl.service import Service
    from beam_pipelines.state.store import StateStore

__all__ = ["Place", "definitions_in", "find_definition", "is_definition", "locate", "locate_service", "options_text"]

_SECTIONS = frozenset(("pipeline", "stream", "batch", "validation"))
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Place:
    """A state store, and the service it was found by.

    Args:
        url: Of the store.
        service: None when only the store is known.
    """

    url: str
    service: Service | None = None

    @property
    def file(self) -> Path | None:
        """The store's file; None for a server."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:///") else None

    @property
    def empty(self) -> bool:
        """The service has not run yet, so there is no store: nothing to show, and no mistake."""
        return self.service is not None and self.file is not None and not self.file.exists()

    @property
    def service_id(self) -> str | None:
        return self.service.id if self.service else None

    def open(self) -> StateStore:
        """Open the store; the caller closes it.

        Raises:
            SpecError: There is none.
        """
        from beam_pipelines.state.store import StateStore

        if self.file is not None and not self.file.exists():
            raise SpecError(f"there is no state store at {str(self.file)!r}: the first run of the service makes it", code="option-invalid")
        return StateStore(self.url)


def locate(arguments: argparse.Namespace, session: Session) -> Place:
    """Find the store that `--service` and `--state` name, else the one of the working directory.

    Raises:
        SpecError: Neither is given, and the working directory does not say it.
    """
    if arguments.service:
        service = session.load(arguments.service, arguments.connections, arguments.state)
        return Place(service.state_url, service)
    if arguments.state:
        return Place(session.find_state(arguments.state, arguments.connections))
    here = Path(".beam_pipelines") / "state.db"
    if here.exists():
        return Place(f"sqlite:///{here.absolute()}")
    service = session.load(find_definition("--service FILE or --state URL"), arguments.connections)
    return Place(service.state_url, service)


def locate_service(arguments: argparse.Namespace, session: Session) -> Place:
    """Find the definition that `--service` names, else the one of the working directory, with its store.

    Raises:
        SpecError: It is not given, and the working directory does not say it.
    """
    path = arguments.service or find_definition("--service FILE")
    service = session.load(path, arguments.connections, arguments.state)
    return Place(service.state_url, service)


def find_definition(wanted: str) -> Path:
    """Return the one definition in the working directory.

    Args:
        wanted: What the user may give instead.

    Raises:
        SpecError: There is none, or there are several.
    """
    found = definitions_in(Path())
    if len(found) == 1:
        return found[0]
    several = f"there are {len(found)} definitions ({', '.join(map(str, found[:5]))})" if found else "there is no definition"
    raise SpecError(f"give {wanted}: {several} in the working directory", code="option-invalid")


def definitions_in(folder: Path) -> list[Path]:
    """Return the files of a folder that look like service definitions, sorted."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file() and is_definition(path))


def is_definition(path: Path) -> bool:
    """Whether a file is meant as a service definition: a mapping with one of the sections that make one, however many mistakes it has."""
    from beam_pipelines.spec import document

    try:
        text = path.read_text(encoding="utf-8-sig")
        if len(text) > document.MAX_BYTES or not any(section in text for section in _SECTIONS):
            return False
        value = document.read(text, str(path), is_json=path.suffix.lower() == ".json").value
    except (OSError, UnicodeDecodeError):
        return False
    except SpecError:
        return True  # it cannot be read, but it names a section: the user had better see why
    return isinstance(value, Mapping) and not _SECTIONS.isdisjoint(value)


def options_text(definition: Path | None, state: str | None, connections: str | None = None) -> str:
    """Return the options by which another command finds the same store, as a user would type them in the same folder."""
    import shlex

    from beam_pipelines.io.state_place import may_be_name
    from beam_pipelines.spec.values import masked_urls

    options = {}
    if state is None or may_be_name(state):
        elsewhere = definition is not None and definition.absolute().parent != Path.cwd()
        if state and connections:
            options["connections"] = connections
        elif elsewhere:
            options["service"] = str(definition)
    if state:
        options["state"] = masked_urls(state)
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in options.items())
