"""Errors, classed by what the reader can do about them.

    BeamPipelinesError
    ├── SpecError         mend the definition, the connections file or the command line   exit 2
    │   └── PlanError     the definition is well formed, but cannot be run as asked        exit 2
    ├── DataError         one row, cell or file is bad: it becomes a dead letter
    ├── TransientError    try again: a server is away, a lock is held, a conflict was lost
    ├── FatalError        stop: the run has failed, and trying again as it is will not help  exit 1
    │   ├── FencedError   another run of the service committed first; this one must not
    │   └── BalanceError  counts do not add up: nothing is committed
    └── ActiveRunError    another run of the service is active                              exit 4

Every error carries a `code`; `docs/errors.md` has a section for each. No message holds a secret or a row's payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = [
    "ActiveRunError",
    "BalanceError",
    "BeamPipelinesError",
    "Code",
    "DataError",
    "FatalError",
    "FencedError",
    "PlanError",
    "Problem",
    "SpecError",
    "TransientError",
]

Code = Literal[
    # definition and command
    "spec-invalid",
    "spec-unreadable",
    "spec-incomplete",
    "not-served",
    "option-invalid",
    "function-missing",
    "expression-invalid",
    "rule-invalid",
    "connection-missing",
    "connection-invalid",
    "secret-missing",
    "extra-missing",
    "table-missing",
    "column-missing",
    "type-unsupported",
    "key-missing",
    "cursor-invalid",
    "guarantee-unreachable",
    "mode-refused",
    "runner-refused",
    "fingerprint-changed",
    "schema-frozen",
    "schema-changed",
    # rows
    "row-invalid",
    "cast-failed",
    "converter-failed",
    "function-failed",
    "expression-failed",
    "cell-too-large",
    "file-unreadable",
    "key-null",
    "lookup-missing",
    "lookup-ambiguous",
    "lookup-failed",
    "target-refused",
    "rule-violated",
    "rule-failed",
    "late-row",
    # again
    "unreachable",
    "locked",
    "conflict",
    # stop
    "authentication-failed",
    "read-failed",
    "stage-failed",
    "commit-failed",
    "fenced",
    "unbalanced",
    "staging-lost",
    "budget-exceeded",
    "rule-broken",
    "empty-source",
    "ledger-behind",
    "cancelled",
    "active-run",
    "internal",
]
CODES: tuple[str, ...] = get_args(Code)


class BeamPipelinesError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: What was expected, what came, where, and what to do. Never a secret, never a row's payload.
        code: Stable name of the situation; a section of `docs/errors.md`.
        details: Plain values for machines (JSON-able), shown by `--output json`.
    """

    exit_code = 1
    default_code: Code = "internal"
    # Beam otherwise rebuilds an exception from its first argument, to append the step's name, and loses code and details.
    _tagged_with_step = True

    def __init__(self, message: str, *, code: Code | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code: Code = code or self.default_code
        self.details: dict[str, Any] = details or {}

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Beam pickles exceptions between workers; the default protocol would drop the keyword arguments.
        return (_rebuild, (type(self), self.message, self.__dict__.copy()))


def _rebuild(cls: type[BeamPipelinesError], message: str, state: dict[str, Any]) -> BeamPipelinesError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True)
class Problem:
    """One mistake in a file that a person wrote.

    Args:
        message: What was expected and what came.
        path: Keys from the root, such as `pipeline.source.query`.
        file: The file as it was named by the user.
        line: From 1; 0 when unknown.
        column: From 1; 0 when unknown.
        hint: What to do, or the nearest known name.
    """

    message: str
    path: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: " if self.line else (f"{self.file}: " if self.file else "")
        what = f"{self.path}: {self.message}" if self.path else self.message
        return f"{where}{what}" + (f" ({self.hint})" if self.hint else "")


class SpecError(BeamPipelinesError):
    """The definition, the connections file or the command line must be mended; nothing was started.

    Args:
        message: Headline; with `problems`, one line for each is added.
        problems: Every mistake found, in the order of the file.
    """

    exit_code = 2
    default_code: Code = "spec-invalid"

    def __init__(
        self, message: str, *, problems: Sequence[Problem] = (), code: Code | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {problem}" for problem in self.problems)])


class PlanError(SpecError):
    """The definition is well formed, but these parts cannot do what it asks; nothing was started."""


class DataError(BeamPipelinesError):
    """One row, cell or file is bad. It becomes a dead letter and costs nothing but itself."""

    default_code: Code = "row-invalid"


class TransientError(BeamPipelinesError):
    """Something outside is away or busy; the same call may succeed later."""

    default_code: Code = "unreachable"


class FatalError(BeamPipelinesError):
    """The run has failed and committed nothing; trying again as it is will not help."""


class FencedError(FatalError):
    """Another run of the service committed after this one began; this one may not commit any more."""

    default_code: Code = "fenced"


class BalanceError(FatalError):
    """What was read, filtered, rejected and written does not add up; nothing is committed."""

    default_code: Code = "unbalanced"


class ActiveRunError(BeamPipelinesError):
    """Another run of the service holds its lease."""

    exit_code = 4
    default_code: Code = "active-run"
