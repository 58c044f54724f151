"""Arguments: a parser that suggests what was meant, and the options that several commands share."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from beam_pipelines.errors import SpecError

__all__ = ["Parser", "add_format", "add_log", "add_store", "wants_json"]

_CHOICE = re.compile(r"invalid choice: '?([^']*?)'? \(choose from (.*)\)$", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """argparse that takes no abbreviations and raises instead of printing usage.

    Every command sets the default `handler`, a `Callable[[Namespace, Session], int]`, and `parser`, itself; one that passes what it does
    not know on to Beam sets `beam` to a list.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        choice = _CHOICE.search(message)
        if choice is not None:
            # `runs --ouput json`: argparse complains of `json`, which it takes for the command.
            self._refuse_unknown()
            near = difflib.get_close_matches(choice[1], re.findall(r"[\w-]+", choice[2]), n=1)
            message += f"; did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"{message[:1].lower()}{message[1:]}; see {self.prog} --help", code="option-invalid")

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse a command line.

        Raises:
            SpecError: `option-invalid`; suggests the nearest option or command.
        """
        arguments, unknown = self.parse_known_args(argv)
        parser: Parser = getattr(arguments, "parser", self)
        if not hasattr(arguments, "beam"):
            if unknown:
                parser.refuse(unknown[0])
            return arguments
        for word in unknown:
            # Beam spells its options with underscores, all but one: a slip in one of ours need not wait for Beam to be imported.
            name = word.partition("=")[0]
            if name.startswith("--") and "-" in name[2:] and name != "--job-server-timeout":
                parser.refuse(name)
        arguments.beam = unknown
        return arguments

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        self._words = list(args or ())
        return super().parse_known_args(args, namespace)

    def _refuse_unknown(self) -> None:
        if "beam" in self._defaults:
            return
        known = self._every_option()
        for word in self._words:
            if word.startswith("--") and word.partition("=")[0] not in known:
                self.refuse(word)

    def _every_option(self) -> set[str]:
        """Return its options and those of the commands below it."""
        options = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                options.update(*(one._every_option() for one in action.choices.values()))
        return options

    def nearest(self, word: str) -> str | None:
        """Return the option that is spelled most like a word."""
        options = [option for action in self._actions for option in action.option_strings]
        found = difflib.get_close_matches(word, options, n=1, cutoff=0.7)
        return found[0] if found else None

    def refuse(self, word: str) -> NoReturn:
        """Refuse a word of the command line."""
        name = word.partition("=")[0]
        if not name.startswith("-"):
            self.error(f"unexpected argument {word!r}")
        near = self.nearest(name)
        self.error(f"unknown option {name!r}" + (f"; did you mean {near}?" if near else ""))


def add_format(parser: argparse._ActionsContainer, **default: Any) -> None:
    """Add `--output`."""
    default = default or {"default": "text"}
    parser.add_argument(
        "--output",
        choices=("text", "json"),
        help="json: the record, alone, on stdout; everything else goes to stderr",
        **default,
    )


def add_log(parser: argparse._ActionsContainer, **default: Any) -> None:
    """Add `--log-format` and `--log-level`."""
    from beam_pipelines.cli.log import FORMATS, LEVELS

    parser.add_argument("--log-format", choices=FORMATS, help="form of the log on stderr", **(default or {"default": "text"}))
    parser.add_argument(
        "--log-level", choices=LEVELS, help="debug: with tracebacks, and all of Beam's log as well", **(default or {"default": "info"})
    )


def add_store(parser: argparse._ActionsContainer, **default: Any) -> None:
    """Add `--service`, `--connections`, `--state` and what every command has."""
    default = default or {"default": None}
    parser.add_argument("--service", metavar="FILE", help="the service definition; its state store is beside it", **default)
    parser.add_argument("--connections", metavar="FILE", help="default: connections.yaml beside the definition", **default)
    parser.add_argument(
        "--state", metavar="URL", help="the state store: postgresql://..., sqlite:///PATH, a path, or the name of a connection", **default
    )
    suppressed = {"default": argparse.SUPPRESS} if default["default"] is argparse.SUPPRESS else {}
    add_format(parser, **suppressed)
    add_log(parser, **suppressed)


def wants_json(argv: Sequence[str]) -> bool:
    """Whether a command line that could not be parsed asks for JSON."""
    return "--output=json" in argv or any(pair == ("--output", "json") for pair in itertools.pairwise(argv))
