"""A YAML parser that stops at a depth, before it has gone through all that is below."""

from __future__ import annotations

from typing import Any

__all__ = ["MAX_DEPTH", "TooDeepError", "parser"]

MAX_DEPTH = 64  # levels of mappings and lists: a definition has ten


class TooDeepError(Exception):
    """A document is nested more deeply than `MAX_DEPTH`.

    Args:
        line: From 1, where it became too deep.
        column: From 1.
    """

    def __init__(self, line: int, column: int) -> None:
        super().__init__(f"expected at most {MAX_DEPTH} levels")
        self.line, self.column = line, column


def parser() -> Any:
    """Return a `ruamel.yaml.YAML` of plain values, whose `compose` raises `TooDeepError`.

    ruamel's own goes down until Python's stack ends, and on its way takes a time that grows with the square of the depth.
    """
    from ruamel.yaml import YAML  # here: importing a model must not pay for the parser
    from ruamel.yaml.composer import Composer
    from ruamel.yaml.scanner import Scanner

    class Shallow(Composer):
        """Counts the nodes that it is within."""

        _within = 0

        def __init__(self, loader: Any = None) -> None:
            super().__init__(loader)
            # YAML 1.2.2, section 3.2.2.2: an anchor may be set again, and an alias means the last one. ruamel would warn on stderr.
            self.warn_double_anchors = False

        def compose_node(self, parent: Any, index: Any) -> Any:
            self._within += 1
            try:
                if self._within > MAX_DEPTH + 1:  # the innermost is a plain value
                    mark = self.parser.peek_event().start_mark
                    raise TooDeepError(mark.line + 1, mark.column + 1)
                return super().compose_node(parent, index)
            finally:
                self._within -= 1

    class Near(Scanner):
        """Looks ahead no deeper than that, either: while it looks, each `[` may still turn out to be a key."""

        def fetch_flow_collection_start(self, token: Any, to_push: str) -> None:
            if len(self.flow_context) > MAX_DEPTH:
                raise TooDeepError(self.reader.line + 1, self.reader.column + 1)
            super().fetch_flow_collection_start(token, to_push)

    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Scanner = Shallow, Near
    return yaml
