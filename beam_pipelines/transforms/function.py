"""The user's own code on rows or batches, so that an exception in one row costs that row."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime

import pyarrow as pa

from beam_pipelines.columnar.size import gather
from beam_pipelines.errors import BeamPipelinesError, Code, FatalError, PlanError, Problem
from beam_pipelines.functions import Functions, UserFunction
from beam_pipelines.spec.step.function import FunctionStep
from beam_pipelines.transforms.by_batch import apply_batch
from beam_pipelines.transforms.by_row import apply_rows, sample_rows
from beam_pipelines.transforms.caller import Caller, Failure
from beam_pipelines.transforms.concurrent import Concurrent
from beam_pipelines.transforms.declared import has_shape, schema_of_annotation, schema_of_batches, schema_of_names, schema_of_rows
from beam_pipelines.transforms.failure import explain
from beam_pipelines.transforms.rows import MAX_ROWS
from beam_pipelines.transforms.step import Applied, dead_rows

__all__ = ["Function"]

_LOG = logging.getLogger(__name__)
_CONCURRENCY = 16  # calls of an async function; what a small service outside takes without complaint
_DECLARE = "declare output: {column: type} in the step"


class Function:
    """A function step, by row or by batch.

    By row, None drops the row (it counts as filtered) and several dicts make several rows, each with the origin of the row they came from.
    Of an async function up to `concurrency` rows are under way at a time, and come out in their order.

    By batch, as many rows as came keep their origin by position, others carry the origin columns themselves, else get the batch's range. A
    batch on which the code raises is halved until the rows that fail are alone. What comes out must fit the planned output; a row that does
    not is a dead letter, as is one on which the code raises. With `required: false` it goes on with the function's columns null, but for
    those it had before. `TransientError` and `FatalError` raised by the code are passed on: try the bundle again, stop the run.

    Args:
        model: From the definition.
        functions: Of the definition.
        path: Where the step stands in it.
    """

    type = "function"

    def __init__(self, model: FunctionStep, functions: Functions, path: str) -> None:
        self.id, self.required = model.id, model.required
        self._model, self._functions, self._path = model, functions, path
        self._found: UserFunction | None = None
        self._stack = contextlib.ExitStack()
        self._caller: Caller | None = None
        self._warned = False

    @property
    def needs_sample(self) -> bool:
        """Nothing declares what the code gives.

        Raises:
            PlanError: The code cannot be found.
        """
        code = self._code()
        if self._model.output is not None or code.output is not None:
            return False
        return code.by == "batch" or not has_shape(code.returns)

    def plan(self, schema: pa.Schema, sample: pa.RecordBatch | None) -> pa.Schema:
        code = self._code()
        output = self._model.output if self._model.output is not None else code.output
        if output is not None:
            return schema_of_names(output, f"{self._path}.output")
        declared = schema_of_annotation(code.returns, schema, self._path) if code.by == "row" else None
        if declared is not None:
            return declared
        if sample is None:
            raise self._unplanned("expected a declared output, or a sample of rows to find it by")
        if sample.num_rows == 0:
            raise self._unplanned("no row of the sample reached the step", "empty-source")
        with self._set_up(schema, None) as caller:
            return self._sampled(caller, sample.slice(0, MAX_ROWS))

    def open(self, schema_in: pa.Schema, schema_out: pa.Schema, now: datetime) -> None:  # noqa: ARG002 (functions have the clock)
        self.close()
        self._caller = self._stack.enter_context(self._set_up(schema_in, schema_out))

    def close(self) -> None:
        self._caller = None
        try:
            self._stack.close()
        except BeamPipelinesError:
            raise
        except (Exception, SystemExit) as error:
            message = f"step {self.id!r}: {self._code().name} cannot be left: {explain(error)}"
            raise FatalError(message, code="function-failed") from error

    def apply(self, batch: pa.RecordBatch) -> Applied:
        if self._caller is None:
            raise FatalError(f"step {self.id!r} was not opened", code="internal")
        parts = (apply_rows if self._caller.code.by == "row" else apply_batch)(self._caller, batch)
        self._warn(batch.num_rows, parts.failed)
        return Applied(
            tuple(one for one in gather(parts.batches) if one.num_rows),
            filtered=parts.filtered,
            nulled=0 if self.required else len(parts.failed),
            made=parts.made,
            dead=dead_rows(batch, parts.failed) if self.required else (),
        )

    def _code(self) -> UserFunction:
        if self._found is None:
            self._found = self._functions.find(self.id, self._model.handler, self._path)
            if self._model.concurrency is not None and not self._found.is_async:
                message = f"{self._found.name} is not async, so its rows are never under way together"
                problem = Problem(message, f"{self._path}.concurrency", hint="write it with async def, or leave concurrency out")
                raise PlanError("a function cannot be used", problems=[problem], code="function-missing")
        return self._found

    @contextlib.contextmanager
    def _set_up(self, before: pa.Schema, planned: pa.Schema | None) -> Iterator[Caller]:
        """Give the code set up; what its set-up raises is not about a row.

        Raises:
            FatalError: It cannot be set up.
        """
        with contextlib.ExitStack() as stack:
            code = self._code()
            together: Concurrent | None = None
            try:
                if code.is_async:
                    together = stack.enter_context(Concurrent.of(code, self._model.concurrency or _CONCURRENCY))
                call = code.code if together else stack.enter_context(code.opened())
            except BeamPipelinesError:
                raise
            except (Exception, SystemExit) as error:
                message = f"step {self.id!r}: {code.name} cannot be set up: {explain(error)}"
                raise FatalError(message, code="function-failed") from error
            yield Caller(call, code, before, planned, passes=planned is not None and not self.required, together=together)

    def _sampled(self, caller: Caller, sample: pa.RecordBatch) -> pa.Schema:
        if caller.code.by == "row":
            rows, failed = sample_rows(caller, sample)
            if rows:
                return schema_of_rows(rows, caller.before, self._path)
        else:
            parts = apply_batch(caller, sample)
            failed = parts.failed
            if parts.batches:
                return schema_of_batches(parts.batches, caller.before, self._path)
        why = f", the first because of {next(iter(failed.values()))[1]}" if failed else ""
        raise self._unplanned(f"none of {sample.num_rows} sampled rows came out; {len(failed)} failed{why}")

    def _unplanned(self, message: str, code: Code = "type-unsupported") -> PlanError:
        problem = Problem(f"{self._code().name}: {message}", self._path, hint=_DECLARE)
        return PlanError("the output of a function cannot be planned", problems=[problem], code=code)

    def _warn(self, rows: int, failed: Mapping[int, Failure]) -> None:
        """Say once that it is not the rows."""
        if self._warned or rows < 2 or len(failed) < rows or len(set(failed.values())) > 1:
            return
        self._warned = True
        _LOG.warning("step %r failed on every row of a batch in the same way: %s", self.id, next(iter(failed.values()))[1])
