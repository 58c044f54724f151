from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from beam_pipelines.engine import sources


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import helper", ["helper"]),
        ("import json, helper as h, pack.more", ["helper", "pack/__init__", "pack/more"]),
        ("from helper import f", ["helper"]),
        ("from helper import *", ["helper"]),
        ("from pack import (\n    more,  # comment, helper\n    Other,\n)\n", ["pack/__init__", "pack/more"]),
        ("from pack import (more,  # first :)\n    Other)\n", ["pack/__init__", "pack/more"]),
        ("from pack import \\\r\n    more\r\n", ["pack/__init__", "pack/more"]),
        ("h = __import__('helper')\n", ["helper"]),
        ("from pack.more import f as g", ["pack/__init__", "pack/more"]),
        ("from pack import \\\n    more", ["pack/__init__", "pack/more"]),
        ("from bare.deep import f", ["bare/deep"]),
        ("if True: import helper", ["helper"]),
        ("x = 1; import helper", ["helper"]),
        ("def f(row):\n    from helper import g\n    return g(row)\n", ["helper"]),
        ("import importlib\nh = importlib.import_module('helper')\n", ["helper"]),
        ("import numpy, os.path\nfrom . import helper_of_nobody\nfrom ..outside import f\nfrom .... import g\n", []),
        ("important = helper\n# import helper\n", []),
        ("from venv_here.lib import f", []),
    ],
)
def test_what_is_imported_from_the_folder_is_found_however_it_is_written(tmp_path: Path, text: str, found: list[str]) -> None:
    folder = tmp_path / "service"
    write(folder, functions=text, helper="", pack__in____init__="", pack__in__more="", bare__in__deep="", venv_here__in__lib="")
    (folder / "venv_here" / "pyvenv.cfg").touch()
    write(tmp_path, outside="")
    assert list(sources.beside(folder, ["functions"])) == sorted([f"{name}.py" for name in [*found, "functions"]])


def test_imports_of_imports_are_followed_and_may_go_in_circles(tmp_path: Path) -> None:
    write(
        tmp_path,
        functions="from pack.rules import f",
        pack__in____init__="",
        pack__in__rules="from . import words\nfrom .deep.further import g\nfrom ..last import h",
        pack__in__words="from pack import rules",
        pack__in__deep__in__further="from ... import last",
        pack__in__unused="",
        last="import functions",
        unused="",
    )
    found = sources.beside(tmp_path, ["functions"])
    assert list(found) == ["functions.py", "last.py", "pack/__init__.py", "pack/deep/further.py", "pack/rules.py", "pack/words.py"]
    assert found["last.py"] == b"import functions"
    assert sources.beside(tmp_path, ["nothing.there", "json"]) == {}


def test_of_a_module_that_is_loaded_it_is_what_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, functions="import loaded_helper_of_this_test", loaded_helper_of_this_test="A = 1")
    loaded = importlib.import_module("loaded_helper_of_this_test")
    try:
        before = sources.beside(tmp_path, ["functions"])
        write(tmp_path, functions="from loaded_helper_of_this_test import A", loaded_helper_of_this_test="A = 22")
        after = sources.beside(tmp_path, ["functions"])
        assert after["loaded_helper_of_this_test.py"] == before["loaded_helper_of_this_test.py"] == b"A = 1"
        # The functions themselves are loaded anew when they were edited.
        assert after["functions.py"] == b"from loaded_helper_of_this_test import A"
        importlib.reload(loaded)
        assert sources.beside(tmp_path, ["functions"])["loaded_helper_of_this_test.py"] == b"A = 22"
    finally:
        del sys.modules["loaded_helper_of_this_test"]
    write(tmp_path, loaded_helper_of_this_test="A = 333")
    assert sources.beside(tmp_path, ["functions"])["loaded_helper_of_this_test.py"] == b"A = 333"
