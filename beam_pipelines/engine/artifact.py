"""The user's functions as a part of the pipeline: a wheel that workers on other machines install, named after what is in it.

A pipeline's proto holds the definition, and the folder that the definition stands in is not on another machine. So the Python files of that
folder are packed, under a package of their own, whose name the job carries. Beam stages the wheel as it does any `--extra_package`; the
worker finds the folder where the package was installed, and looks the functions up in it as if it were the definition's.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from beam_pipelines.errors import PlanError
from beam_pipelines.spec.step import StepBase, every_step

__all__ = ["folder_of", "needs", "pack"]

_PREFIX = "bp_service_"
_SKIPPED = ("__pycache__", "site-packages", "node_modules")
_FILES, _BYTES = 2000, 16 << 20  # code that people write is far below; above, the folder is somebody's home
_TIME = (1980, 1, 1, 0, 0, 0)  # the same code gives the same wheel
_METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: 1.0
Summary: Functions of a beam_pipelines service
"""
_WHEEL = """\
Wheel-Version: 1.0
Generator: beam_pipelines
Root-Is-Purelib: true
Tag: py3-none-any
"""


def pack(folder: Path, into: Path) -> tuple[str, Path]:
    """Pack the Python files of a definition's folder; nothing else of it, so that no connections file and no data goes along.

    Hidden folders, virtual environments and symbolic links to folders are left out.

    Args:
        folder: The definition's.
        into: Where the wheel is written.

    Returns:
        Name of the package, and the wheel.

    Raises:
        PlanError: There is more than a service's code would be.
    """
    files: dict[str, bytes] = {}
    size = 0
    for path in _python_files(folder):
        files[path.relative_to(folder).as_posix()] = content = path.read_bytes()
        size += len(content)
        if len(files) > _FILES or size > _BYTES:
            raise PlanError(
                f"the folder of the definition ({folder}) holds more than {_FILES} Python files or {_BYTES >> 20} MiB of them, too much to"
                " send to workers: give the definition a folder of its own",
                code="function-missing",
            )
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    package = _PREFIX + digest.hexdigest()[:16]
    files.setdefault("__init__.py", b"")
    return package, _write_wheel(into, package, {f"{package}/{name}": content for name, content in files.items()})


def folder_of(package: str) -> Path | None:
    """Where a packed folder was installed; None when it was not."""
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) if places else None


def needs(steps: tuple[StepBase, ...]) -> bool:
    """Whether any of these steps, or of the steps of a join's source, calls code of the user."""
    return any(step.type == "function" for step in every_step(steps))


def _python_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED and not (here / name / "pyvenv.cfg").exists()
        )
        yield from (here / name for name in sorted(names) if name.endswith(".py"))


def _write_wheel(into: Path, package: str, files: dict[str, bytes]) -> Path:
    """Write a wheel (PEP 427: a zip with its metadata and a list of the files' hashes)."""
    about = f"{package}-1.0.dist-info"
    whole = {**files, f"{about}/METADATA": _METADATA.format(name=package).encode(), f"{about}/WHEEL": _WHEEL.encode()}
    record = [f"{name},sha256={_hash(content)},{len(content)}" for name, content in whole.items()]
    whole[f"{about}/RECORD"] = ("\n".join([*record, f"{about}/RECORD,,"]) + "\n").encode()
    wheel = into / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in whole.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_DEFLATED)
    return wheel


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
