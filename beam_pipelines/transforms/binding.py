"""Fields that a step's definition names, found in a schema; what does not fit is gathered, so that all of it is told at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from beam_pipelines.columnar.kinds import plain_type
from beam_pipelines.columnar.path import FieldPath, PathProblem, find_path
from beam_pipelines.errors import Code, PlanError, Problem

__all__ = ["Binding"]


@dataclass
class Binding:
    """What was wrong so far, with a code for each problem."""

    problems: list[Problem] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)

    def find(self, text: str, schema: pa.Schema, path: str, *, where: str = "") -> FieldPath | None:
        """Return a field; None, and a problem, where there is none.

        Args:
            text: As the definition names it.
            schema: That it is looked for in.
            path: Where it stands in the definition.
            where: What the problem begins with, such as `the left side: `.
        """
        try:
            return find_path(text, schema)
        except PathProblem as problem:
            self.refuse(f"{where}{problem.message}", path, problem.hint, problem.code)
            return None

    def find_key(self, text: str, schema: pa.Schema, path: str) -> FieldPath | None:
        """Return a field as `find` does, whose values have to be told apart."""
        found = self.find(text, schema, path)
        if found is not None and pa.types.is_nested(plain_type(found.type)):
            self.refuse(
                f"expected a field with values that can be told apart, got {text!r}, a {found.type}", path, "name a field inside of it"
            )
        return found

    def refuse(self, message: str, path: str, hint: str = "", code: Code = "type-unsupported") -> None:
        self.add(Problem(message, path, hint=hint), code)

    def add(self, problem: Problem, code: Code = "type-unsupported") -> None:
        self.problems.append(problem)
        self.codes.append(code)

    def check(self, what: str) -> None:
        """Refuse the step if anything does not fit.

        Args:
            what: Cannot be done, for the error.

        Raises:
            PlanError: With all problems, and the code of the first.
        """
        if self.problems:
            raise PlanError(what, problems=self.problems, code=self.codes[0])
