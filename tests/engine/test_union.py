from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_pipelines.columnar.origin import part_of
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.union import _TheirsFn
from beam_pipelines.spec import parse


def source(table: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "database", "connection": "crm", "table": table, **({"transformations": list(steps)} if steps else {})}


def union(name: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "type": "union", "source": source(name, *steps)}


def test_sources_are_in_the_order_of_the_definition_however_unions_stand_inside_of_one_another() -> None:
    some = {"id": "some", "type": "filter", "condition": "id > 0"}
    definition = {
        "name": "Desk",
        "pipeline": {
            "source": source("a"),
            "transformations": [some, union("b", union("c", union("d")), union("e")), union("f"), {**some, "id": "more"}, union("g")],
            "destination": {"type": "database", "connection": "target", "table": "out", "keyFields": ["id"]},
        },
    }
    job = Job.of(parse(definition).definition, Path())
    found = [part_of(range_of(2)), part_of(range_of(7))]
    for way in (["b"], ["b", "c"], ["b", "c", "d"], ["b", "e"], ["f"], ["g"]):
        for part in (2, 7):
            batch, jobs = range_of(part), [job]
            for step in way[:-1]:
                jobs.append(jobs[-1].side(step))
            for side, step in zip(reversed(jobs), reversed(way), strict=True):
                batch = _TheirsFn(side, side.step_ids.index(step))._behind(batch)
            found.append(part_of(batch))
    assert found == sorted(set(found))


def range_of(part: int) -> pa.RecordBatch:
    return pa.record_batch({"id": [1]}).replace_schema_metadata({b"bp:part": str(part).encode()})
