from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from beam_pipelines.runs.context import RunContext
from beam_pipelines.runs.held import Held
from beam_pipelines.runs.mark import Mark
from beam_pipelines.runs.window import Range, Window


def test_a_window_comes_back_from_the_ledger_as_it_was() -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("at", pa.timestamp("us", "UTC")),
            ("x", pa.list_(pa.struct([("y", pa.decimal128(9, 2))]))),
        ]
    )
    window = Window(
        "s",
        "t",
        "src",
        "r" * 12,
        3,
        Mark.of(7),
        True,
        Mark.of(9),
        False,
        (Range("t", "src", 0, {"low": "a"}, 5, 6),),
        "f",
        "2026-01-01T00:00:00+00:00",
        False,
    )
    window = window.with_schema("", schema).with_schema("map", schema)
    back = Window.from_text(window.to_text())
    assert window == back
    assert schema == back.schema("map")
    held = replace(window, held=Held("transaction 7/1", 12.5, "process 7 is idle"))
    assert Window.from_text(held.to_text()) == held


def test_a_context_comes_back_from_text() -> None:
    context = RunContext("r", "2026-01-01T00:00:00+00:00", "c.yaml", "store", "sqlite:///x", True, 9, True, True)
    assert context == RunContext.from_text(context.to_text())
