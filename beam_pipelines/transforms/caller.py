"""A user's function, set up and called: what both ways of calling it share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar import origin
from beam_pipelines.columnar.column import convert_column
from beam_pipelines.errors import BeamPipelinesError, Code, DataError, FatalError
from beam_pipelines.functions import UserFunction
from beam_pipelines.transforms.concurrent import Concurrent
from beam_pipelines.transforms.failure import explain

__all__ = ["Caller", "Failure", "Parts", "Refused", "assembled"]

Failure = tuple[Code, str]


class Refused(Exception):  # noqa: N818 (it never leaves the function step)
    """What a function gave does not fit.

    Args:
        message: What was expected and what came, without payload.
        code: Error code of the rows.
    """

    def __init__(self, message: str, code: Code = "function-failed") -> None:
        super().__init__(message)
        self.failure: Failure = (code, message)


@dataclasses.dataclass
class Parts:
    """What became of a batch: pieces of output in the order of the input, failures by position, and counts."""

    batches: list[pa.RecordBatch] = dataclasses.field(default_factory=list)
    failed: dict[int, Failure] = dataclasses.field(default_factory=dict)
    filtered: int = 0
    made: int = 0


@dataclasses.dataclass(frozen=True)
class Caller:
    """A function ready to be called.

    Args:
        call: The code, set up.
        code: As it was found.
        before: Visible schema of what it takes.
        planned: Visible schema of what it gives; None while it is sampled: then nothing is checked.
        passes: Rows that fail go on (`required: false`).
        together: How an async function is called; None: it is not one.
    """

    call: Callable[[Any], Any]
    code: UserFunction
    before: pa.Schema
    planned: pa.Schema | None
    passes: bool = False
    together: Concurrent | None = None

    def answers(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Callable[[], Any]]:
        """Yield for each row what gives the function's answer, or raises what it raised; each is called once, before the next is taken."""
        if self.together is None:
            # A copy: code may change the row it was given before it fails, and its message must hide what was there.
            yield from (lambda row=row: self.call(dict(row)) for row in rows)
            return
        yield from (lambda answer=answer: _raised(answer) for answer in self.together.call([dict(row) for row in rows]))

    @property
    def schema(self) -> pa.Schema:
        return self.planned if self.planned is not None else pa.schema([])

    def failure(self, error: BaseException, row: Mapping[str, Any]) -> Failure:
        """Return why a row failed; errors that are not about the row (try again, stop) are raised again.

        A MemoryError that the code met is about the row: what it asked for was not given, and nothing was lost. Should memory be short
        for every row, the error budget says so.
        """
        if isinstance(error, Refused):
            return error.failure
        if isinstance(error, DataError):
            return error.code, error.message
        if isinstance(error, BeamPipelinesError):
            raise error
        return "function-failed", explain(error, row, [*self.before.names, *self.schema.names])

    def left(self, leave: BaseException) -> FatalError:
        """The error for code that wanted to end the process: that is no fault of a row, and must not look like a run that ended well."""
        where = explain(leave).rpartition(" (")[2].rstrip(")")
        return FatalError(
            f"{self.code.name} wanted to end the process ({where}), so the run was stopped: to leave a row out return None, to fail a row"
            " raise an exception",
            code="function-failed",
        )

    def passed(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """Return the planned columns of rows that failed: their own value where they have the field and it fits, else null."""
        names = origin.names(batch.schema)
        none = pa.nulls(batch.num_rows)
        return [
            convert_column(batch.column(batch.schema.get_field_index(field.name)) if field.name in names else none, field.type)[0]
            for field in self.schema
        ]


def _raised(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def assembled(arrays: Sequence[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """Return a batch of planned columns, also of none."""
    if not schema.names:
        return pa.RecordBatch.from_arrays([pa.nulls(rows)], names=["_"]).select([])
    return pa.RecordBatch.from_arrays(list(arrays), schema=schema)
