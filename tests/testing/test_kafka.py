from __future__ import annotations

from pathlib import Path

import pytest

from beam_pipelines.errors import SpecError
from beam_pipelines.testing import kafka


@pytest.mark.parametrize("name", ["java", "mvn"])
def test_a_missing_program_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if name == "java":
        monkeypatch.setattr(kafka, "fetched", lambda: tmp_path)
    else:
        monkeypatch.setattr(kafka, "folder_of", lambda name: tmp_path / "cache" / name)
    with pytest.raises(SpecError, match=f"'{name}' to run or fetch it is missing: install Java 17 and Maven") as no:
        kafka.KafkaBroker(tmp_path / "broker").start()
    assert no.value.code == "extra-missing"
