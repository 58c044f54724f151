from __future__ import annotations

import pickle
import sys
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest

from beam_pipelines.errors import PlanError
from beam_pipelines.functions import Functions, UserFunction, batch, row


def write(folder: Path, **modules: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(dedent(text))
    return folder


def missing(functions: Functions, step: str, handler: str | None = None) -> PlanError:
    with pytest.raises(PlanError) as raised:
        functions.find(step, handler, "pipeline.transformations[0]")
    assert raised.value.code == "function-missing"
    assert raised.value.problems[0].path == "pipeline.transformations[0]"
    return raised.value


def call(found: UserFunction, value: object) -> object:
    with found.opened() as code:
        return code(value)


def test_the_function_named_like_the_step_is_found_beside_the_definition(tmp_path: Path) -> None:
    functions = Functions(write(tmp_path / "a", functions="def clean_names(row): return {'a': 1}"))
    assert call(functions.find("clean_names"), {}) == {"a": 1}
    assert call(functions.find("clean-names"), {}) == {"a": 1}
    assert functions.find("clean-names").name == "functions.py: clean_names"


def test_two_definitions_may_have_functions_of_one_name(tmp_path: Path) -> None:
    first = Functions(write(tmp_path / "a", functions="def enrich(row): return {'from': 'a'}"))
    second = Functions(write(tmp_path / "b", functions="def enrich(row): return {'from': 'b'}"))
    assert call(first.find("enrich"), {}) == {"from": "a"}
    assert call(second.find("enrich"), {}) == {"from": "b"}
    assert call(first.find("enrich"), {}) == {"from": "a"}


def test_the_handler_goes_before_functions_py_and_that_before_the_modules(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a",
        functions="def one(row): return 'functions.py'",
        shared="""
        def one(row): return 'shared'
        def two(row): return 'shared'
        class Tools:
            @staticmethod
            def three(row): return 'tools'
        """,
    )
    functions = Functions(folder, ["shared"])
    assert call(functions.find("one", "shared:one"), {}) == "shared"
    assert call(functions.find("one"), {}) == "functions.py"
    assert call(functions.find("two"), {}) == "shared"
    assert call(functions.find("x", "shared:Tools.three"), {}) == "tools"


def test_installed_modules_are_found_as_python_finds_them() -> None:
    assert call(Functions(None, ["json"]).find("loads"), "{}") == {}
    assert call(Functions().find("any", "json:loads"), "1") == 1


def test_modules_beside_the_definition_are_importable_from_functions_py(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a", helpers_of_this_test="VALUE = 42", functions="from helpers_of_this_test import VALUE\ndef f(row): return VALUE"
    )
    assert call(Functions(folder).find("f"), {}) == 42
    assert sys.path[-1] == str(folder.resolve())  # last: it hides nothing that is installed


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    functions = Functions(write(tmp_path / "a", functions="def f(row): return 1"))
    assert call(functions.find("f"), {}) == 1
    write(tmp_path / "a", functions="def f(row): return 2")
    assert call(functions.find("f"), {}) == 2


def test_what_is_not_found_names_the_three_places_and_the_nearest_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", functions="def normalise(row): return row")
    message = str(missing(Functions(folder, ["json"]), "normalize"))
    assert "handler" in message
    assert str(folder / "functions.py") in message
    assert "[json]" in message
    assert "did you mean 'normalise'?" in message
    message = str(missing(Functions(), "normalize"))
    assert "functions.py (the definition is in no folder)" in message


@pytest.mark.parametrize(
    ("source", "step", "handler", "message"),
    [
        ("def f(row: return", "f", None, "SyntaxError"),
        ("import nothing_of_the_kind", "f", None, "ModuleNotFoundError: No module named 'nothing_of_the_kind' (line 1)"),
        ("x = 1\n1 / 0", "f", None, "ZeroDivisionError: division by zero (line 2)"),
        ("f = 5", "f", None, "expected a function, or a class whose instances can be called, at 'functions.py: f', got int"),
        ("class f: pass", "f", None, "got type"),
        ("def f(row): return row", "f", "functions:g", "'functions' has no 'g'"),
        ("", "f", "no_such_module_here:f", "no module 'no_such_module_here'"),
        ("", "f", None, "no code for the function step 'f'"),
    ],
)
def test_code_that_cannot_be_used_is_a_plan_error(tmp_path: Path, source: str, step: str, handler: str | None, message: str) -> None:
    functions = Functions(write(tmp_path / "a", functions=source))
    assert message in str(missing(functions, step, handler))


def test_a_failed_import_leaves_nothing_behind(tmp_path: Path) -> None:
    functions = Functions(write(tmp_path / "a", functions="1 / 0"))
    missing(functions, "f")
    missing(functions, "f")
    assert not [name for name in sys.modules if name.startswith("_bp_functions_") and not hasattr(sys.modules[name], "__file__")]


def test_annotations_and_decorators_tell_rows_from_batches(tmp_path: Path) -> None:
    source = """
    import pyarrow as pa
    from beam_pipelines.functions import batch, row

    def plain(row): return row
    def by_dict(row: dict) -> dict: return row
    def by_batch(batch: pa.RecordBatch) -> pa.RecordBatch: return batch
    def by_text(batch: "pa.RecordBatch") -> "pa.RecordBatch": return batch
    @batch
    def marked(b): return b
    @batch(output={"id": "bigint"}, origin=True)
    def marked_more(b): return b
    @row(output={"id": "bigint"})
    def marked_row(b: pa.RecordBatch): return b
    class Klass:
        def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch: return batch
    @batch
    class Marked:
        def __call__(self, b): return b
    instance = Klass()
    """
    functions = Functions(write(tmp_path / "a", functions=source))
    by = {
        name: functions.find(name).by
        for name in ("plain", "by_dict", "by_batch", "by_text", "marked", "marked_row", "Klass", "Marked", "instance")
    }
    assert by == {
        "plain": "row",
        "by_dict": "row",
        "by_batch": "batch",
        "by_text": "batch",
        "marked": "batch",
        "marked_row": "row",
        "Klass": "batch",
        "Marked": "batch",
        "instance": "batch",
    }
    more = functions.find("marked_more")
    assert (more.output, more.origin) == ({"id": "bigint"}, True)


def test_decorators_leave_the_function_as_it_is() -> None:
    @row
    def one(value: int) -> int:
        return value + 1

    @batch(origin=True)
    def two(value: pa.RecordBatch) -> pa.RecordBatch:
        return value

    assert one(1) == 2
    assert two(pa.record_batch({"a": [1]})).num_rows == 1


def test_a_class_is_made_entered_called_and_left(tmp_path: Path) -> None:
    source = """
    LOG = []
    class Enrich:
        def __init__(self): LOG.append("made")
        def __enter__(self): LOG.append("entered"); return self
        def __exit__(self, kind, error, trace): LOG.append("left")
        def __call__(self, row): LOG.append("called"); return row
    class Bare:
        def __init__(self): self.count = 0
        def __call__(self, row): self.count += 1; return self.count
    """
    functions = Functions(write(tmp_path / "a", functions=source))
    found = functions.find("Enrich")
    with found.opened() as code:
        code({})
        code({})
    assert sys.modules[found.code.__module__].LOG == ["made", "entered", "called", "called", "left"]
    with functions.find("Bare").opened() as code:
        assert [code({}), code({})] == [1, 2]
    with functions.find("Bare").opened() as code:
        assert code({}) == 1


def test_functions_travel_by_their_names(tmp_path: Path) -> None:
    functions = Functions(write(tmp_path / "a", functions="def f(row): return 1"), ("json",))
    functions.find("f")
    again = pickle.loads(pickle.dumps(functions))
    assert call(again.find("f"), {}) == 1
    assert again.modules == ("json",)


def test_functions_can_be_pickled_by_reference_within_a_process(tmp_path: Path) -> None:
    found = Functions(write(tmp_path / "a", functions="def f(row): return 1")).find("f")
    assert pickle.loads(pickle.dumps(found.code)) is found.code


@pytest.mark.parametrize("leaving", ["import sys; sys.exit(0)", "raise SystemExit"])
def test_a_file_that_ends_the_process_when_it_is_imported_is_refused_by_name_and_line(tmp_path: Path, leaving: str) -> None:
    folder = write(tmp_path / "a", functions=f"# one\n{leaving}\ndef clean(row): return row", shared=leaving)
    said = str(missing(Functions(folder), "clean"))
    assert f"{folder / 'functions.py'} cannot be imported: it ends the process (line 2)" in said
    assert "it ends the process" in str(missing(Functions(folder), "clean", "shared:clean"))
