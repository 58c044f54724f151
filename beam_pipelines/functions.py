"""The user's own code: how a step of type `function` finds it, and how that code says what it takes and gives.

A function works by row or by batch:

    def normalize(row: dict) -> dict | None | Iterable[dict]: ...
    def normalize(batch: pa.RecordBatch) -> pa.RecordBatch: ...

The annotation of the first parameter tells which; without one it is by row, and `@row` or `@batch` say it in any case. What comes out is
declared in the step (`output:`), by the decorator (`@row(output={"id": "bigint"})`) or by the annotation (a TypedDict or dataclass);
else it is sampled. Code that needs set-up is a class: one instance a worker is made without arguments, entered (`__enter__`) before the
first row, called for each row or batch (`__call__`) and left (`__exit__`) after the last.

Code by row may be async (`async def`, also with `yield`): then several rows are under way at a time, as many as the step's `concurrency`
says, and rows keep their order. A class with an async `__call__` may have `__aenter__` and `__aexit__`.

Functions are looked up for each definition, never process-wide: two definitions may both have an `enrich`.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NoReturn, TypeVar, overload

from beam_pipelines.errors import PlanError, Problem

__all__ = ["Functions", "UserFunction", "batch", "row"]

By = Literal["row", "batch"]
_F = TypeVar("_F")
_MARK = "__beam_pipelines__"
_FILE = "functions.py"


@dataclass(frozen=True)
class _Mark:
    by: By
    output: Mapping[str, str] | None
    origin: bool = False


@overload
def row(code: _F, *, output: Mapping[str, str] | None = None) -> _F: ...
@overload
def row(code: None = None, *, output: Mapping[str, str] | None = None) -> Callable[[_F], _F]: ...
def row(code: Any = None, *, output: Mapping[str, str] | None = None) -> Any:
    """Mark a function (or a class with `__call__`) as working by row.

    Args:
        code: The function, when used without arguments.
        output: Output columns with their types, as `output:` of a step.
    """
    return _marking(code, _Mark("row", output))


@overload
def batch(code: _F, *, output: Mapping[str, str] | None = None, origin: bool = False) -> _F: ...
@overload
def batch(code: None = None, *, output: Mapping[str, str] | None = None, origin: bool = False) -> Callable[[_F], _F]: ...
def batch(code: Any = None, *, output: Mapping[str, str] | None = None, origin: bool = False) -> Any:
    """Mark a function (or a class with `__call__`) as working by record batch.

    Args:
        code: The function, when used without arguments.
        output: Output columns with their types, as `output:` of a step.
        origin: Also hand over the hidden columns that say where rows came from (`__bp_...`). A function that returns another number of rows
            keeps the origin of each row when it carries them; else its rows get the range of the whole batch.
    """
    return _marking(code, _Mark("batch", output, origin))


def _marking(code: _F | None, mark: _Mark) -> Any:
    def put(target: _F) -> _F:
        setattr(target, _MARK, mark)
        return target

    return put if code is None else put(code)


@dataclass(frozen=True)
class UserFunction:
    """A function as it was found.

    Args:
        code: A function, an object that can be called, or a class whose instances can.
        by: `row` or `batch`.
        output: Output columns with their types, from its decorator; None: it names none.
        returns: Annotation of what it returns, None: it has none.
        name: For messages: `functions.py: normalize`.
        origin: It wants the hidden columns (batch functions).
        is_async: It is a coroutine function or an async generator function, or a class whose instances are called as one.
    """

    code: Any
    by: By
    output: Mapping[str, str] | None
    returns: Any
    name: str
    origin: bool = False
    is_async: bool = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[Callable[[Any], Any]]:
        """Give what is called for each row or batch, set up; a class is made and entered here, and left at the end."""
        if not inspect.isclass(self.code):
            yield self.code
            return
        made: Any = self.code()
        if hasattr(made, "__enter__"):
            with made as entered:
                yield made if entered is None else entered
        else:
            yield made


class Functions:
    """The functions of one definition; holds names only, and is pickled as such.

    Args:
        folder: The definition's folder, with `functions.py` and the modules that handlers name; None: there is none.
        modules: The definition's `functions:`.
    """

    def __init__(self, folder: Path | None = None, modules: Sequence[str] = ()) -> None:
        self.folder = folder
        self.modules = tuple(modules)

    def find(self, step_id: str, handler: str | None = None, path: str = "") -> UserFunction:
        """Find the code of a step: by its `handler`, else in `functions.py` beside the definition, else in the modules of `functions:`.

        Args:
            step_id: The step's id; `clean-names` finds `clean_names`.
            handler: The step's handler.
            path: Where the step stands in the definition.

        Raises:
            PlanError: Code `function-missing`: nothing was found, or what was found cannot be loaded or called.
        """
        if handler is not None:
            module_name, _, attribute = handler.partition(":")
            module = self._module(module_name, path)
            found: Any = module
            for part in attribute.split("."):
                if not hasattr(found, part):
                    raise self._missing(f"{module_name!r} has no {attribute!r}", path, _near(attribute, module))
                found = getattr(found, part)
            return _described(found, handler, path)
        name = step_id.replace("-", "_").replace(".", "_")
        places = self._places(path)
        for place, held in places:
            if held is not None and hasattr(held, name):
                return _described(getattr(held, name), f"{place}: {name}", path)
        raise self._missing(self._looked(step_id, name, places), path, _near(name, *(module for _, module in places if module)))

    def _places(self, path: str) -> list[tuple[str, ModuleType | None]]:
        beside = self.folder / _FILE if self.folder else None
        module = _load(beside, self.folder, path) if beside and self.folder and beside.is_file() else None
        places: list[tuple[str, ModuleType | None]] = [(_FILE, module)]
        return places + [(name, self._module(name, path)) for name in self.modules]

    def _looked(self, step_id: str, name: str, places: Sequence[tuple[str, ModuleType | None]]) -> str:
        beside = f"{self.folder / _FILE}" if self.folder else f"{_FILE} (the definition is in no folder)"
        state = "" if places[0][1] is None else " (it is there, without that name)"
        modules = f"the modules of functions: [{', '.join(self.modules)}]" if self.modules else "functions: (no module is named)"
        looked = f"its handler: (none is named), for {name!r} in {beside}{state}, and in {modules}"
        return f"no code for the function step {step_id!r}: looked at {looked}"

    def _missing(self, message: str, path: str, hint: str = "") -> PlanError:
        return PlanError("a function cannot be found", problems=[Problem(message, path, hint=hint)], code="function-missing")

    def _module(self, name: str, path: str) -> ModuleType:
        """Import a module: from the definition's folder under a name of its own, else as Python finds it."""
        if self.folder is not None:
            at = self.folder.joinpath(*name.split("."))
            for file in (at.with_suffix(".py"), at / "__init__.py"):
                if file.is_file():
                    return _load(file, self.folder, path)
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                beside = f"beside the definition ({self.folder}) or " if self.folder else ""
                raise self._missing(f"no module {name!r} {beside}on Python's path", path) from error
            raise self._missing(f"{name!r} cannot be imported: {error}", path, "install it beside beam-pipelines") from error
        except (Exception, SystemExit) as error:
            raise self._missing(f"{name!r} cannot be imported: {_where(error)}", path) from error


class _Source(SourceFileLoader):
    """Compiles a file each time: bytecode that is kept is told by second and size, and an edit may have those of the file before it."""

    def path_stats(self, path: str) -> NoReturn:
        raise OSError(f"no bytecode is looked for, nor written, of {path}")


def _load(file: Path, folder: Path, path: str) -> ModuleType:
    """Import a file under a name made from its place and content: two definitions do not meet, and an edited file is read again."""
    file = file.resolve()
    content = file.read_bytes()
    digest = hashlib.sha256(str(file).encode() + b"\0" + content).hexdigest()[:16]
    name = f"_bp_functions_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))  # last: what stands beside a definition must not hide an installed package
    package = file.name == "__init__.py"
    inside = [str(file.parent)] if package else None
    loader = _Source(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise PlanError(f"{file} is not a Python file", code="function-missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise Functions(folder)._missing(f"{file} cannot be imported: {_where(error, file)}", path) from error
    return module


def _where(error: BaseException, file: Path | None = None) -> str:
    """Return an import's error with the line of the user's file."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if file is not None and trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    said = "it ends the process" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
    return said + (f" (line {line})" if line else "")


def _near(name: str, *modules: ModuleType) -> str:
    known = [key for module in modules for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    own = [key for module in modules for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if found:
        return f"did you mean {found[0]!r}?"
    return f"it has: {', '.join(own[:10])}" if own else "name the code by handler: module:function"


def _described(code: Any, name: str, path: str) -> UserFunction:
    def refused(message: str) -> PlanError:
        return PlanError("a function cannot be used", problems=[Problem(message, path)], code="function-missing")

    if not callable(code) or (inspect.isclass(code) and "__call__" not in _members(code)):
        raise refused(f"expected a function, or a class whose instances can be called, at {name!r}, got {type(code).__name__}")
    called = code if inspect.isroutine(code) else code.__call__
    is_async = inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)
    mark = getattr(code, _MARK, None)
    hints = _hints(called)
    if mark is None:
        mark = _Mark("batch" if _takes_batch(called, hints) else "row", None)
    if is_async and mark.by == "batch":
        raise refused(f"{name!r} is async and takes batches: write it by row, or as a plain function")
    return UserFunction(code, mark.by, mark.output, hints.get("return"), name, mark.origin, is_async)


def _members(code: type) -> set[str]:
    return {name for base in code.__mro__ if base is not object for name in vars(base)}


def _hints(called: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(called, include_extras=True)
    except Exception:  # noqa: BLE001 (annotations are the user's, and may name anything; without them code is by row and sampled)
        return dict(getattr(called, "__annotations__", {}))


def _takes_batch(called: Any, hints: Mapping[str, Any]) -> bool:
    try:
        names = [name for name in inspect.signature(called).parameters if name != "self"]
    except (TypeError, ValueError):
        return False
    kind = hints.get(names[0]) if names else None
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2] in ("RecordBatch", "Table")
