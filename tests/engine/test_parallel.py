"""How many worker processes a batch gets."""

from __future__ import annotations

from typing import Any

import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from beam_pipelines.engine.file_plan import FilePlan
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.parallel import in_parallel
from beam_pipelines.engine.plan import Plan
from beam_pipelines.runs.guarantee import Guarantee
from beam_pipelines.spec import Definition

MIB = 1 << 20


def job(parallelism: int | None) -> Job:
    definition: dict[str, Any] = {
        "name": "b",
        "batch": {
            "source": {"type": "file", "path": "in/*.csv"},
            "processing": {} if parallelism is None else {"parallelism": parallelism},
            "destination": {"type": "file", "path": "out", "format": "parquet"},
        },
    }
    return Job.of(Definition.model_validate(definition))


def told(files: int, size: int) -> FilePlan:
    return FilePlan(files, size, broken=0, done=0, waiting=0, place="out", form="Parquet")


def workers(parallelism: int | None, files: int, size: int, *options: str) -> tuple[str, int]:
    plan = Plan("b", (), Guarantee("exactly-once", ()), (), "insert", "out", by_file=told(files, size))
    made = in_parallel(job(parallelism), plan, PipelineOptions(list(options)))
    direct = made.view_as(DirectOptions)
    return direct.direct_running_mode, direct.direct_num_workers


@pytest.mark.parametrize(
    ("parallelism", "files", "size", "expected"),
    [
        (4, 20, 1000 * MIB, ("multi_processing", 4)),
        (4, 3, 1000 * MIB, ("multi_processing", 3)),  # a file is the unit
        (4, 20, 70 * MIB, ("multi_processing", 2)),  # a process takes longer to begin than to read 32 MiB
        (4, 20, 10 * MIB, ("in_memory", 1)),
        (1, 20, 1000 * MIB, ("in_memory", 1)),
        (None, 20, 1000 * MIB, ("in_memory", 1)),
    ],
)
def test_as_many_as_are_asked_for_and_there_is_work_for(parallelism: int | None, files: int, size: int, expected: tuple[str, int]) -> None:
    assert workers(parallelism, files, size) == expected


def test_what_the_command_says_of_workers_stands():
    given = ("--direct_running_mode=multi_processing", "--direct_num_workers=3")
    assert workers(4, 20, 1000 * MIB, *given) == ("multi_processing", 3)


def test_a_service_of_another_kind_gets_none():
    definition = {
        "name": "e",
        "pipeline": {"source": {"type": "file", "path": "a.csv"}, "destination": {"type": "file", "path": "out", "format": "parquet"}},
    }
    plan = Plan("e", (), Guarantee("exactly-once", ()), (), "insert", "out", by_file=told(9, 1000 * MIB))
    assert in_parallel(Job.of(Definition.model_validate(definition)), plan, None) is None
