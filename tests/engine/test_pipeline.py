"""What the pipeline's proto holds: coders, and nothing of one machine or one run."""

from __future__ import annotations

import bz2
import contextlib
import json
import os
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext

from beam_pipelines.columnar.coder import RecordBatchCoder
from beam_pipelines.engine.job import Job
from beam_pipelines.engine.pipeline import RunLoads
from beam_pipelines.etl.service import Service
from beam_pipelines.runs.context import VARIABLE, RunContext

STEPS = [
    {"id": "adults", "type": "filter", "condition": "age >= 18"},
    {"id": "same", "type": "function", "output": {"id": "bigint"}},
]
PASSWORD, SECRET = "hunter2-in-the-url", "s3cr3t-from-the-environment"


def proto_of(job: Job) -> beam_runner_api_pb2.Pipeline:
    pipeline = beam.Pipeline()
    pipeline | "Run" >> RunLoads(job)
    return pipeline.to_runner_api()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("CRM_PASSWORD", SECRET)
    connections = {
        "crm": f"postgresql://reader:{PASSWORD}@db.example.com/crm",
        "warehouse": {"url": "postgresql://db.example.com/warehouse", "user": "writer", "password": "${env:CRM_PASSWORD}"},
    }
    (tmp_path / "connections.yaml").write_text(json.dumps(connections))
    (tmp_path / "functions.py").write_text("def same(row: dict) -> dict:\n    return {'id': row['id']}\n")
    definition = {
        "name": "Customers",
        "pipeline": {
            "source": {"type": "database", "connection": "crm", "table": "customers", "cursor": {"column": "updated_at"}},
            "transformations": STEPS,
            "destination": {"type": "data-warehouse", "connection": "warehouse", "table": "customers", "keyFields": ["id"]},
        },
    }
    path = tmp_path / "service.json"
    path.write_text(json.dumps(definition))
    return Service.load(path, state=f"postgresql://keeper:{PASSWORD}@db.example.com/state")


def unpacked(proto: beam_runner_api_pb2.Pipeline) -> bytes:
    """Everything in a proto, with what Beam compresses in it unpacked: a secret could hide there."""
    found = proto.SerializeToString()
    for component in (*proto.components.transforms.values(), *proto.components.coders.values()):
        payload = component.spec.payload
        pieces = [payload]
        if component.spec.urn == "beam:transform:pardo:v1":
            pieces.append(beam_runner_api_pb2.ParDoPayload.FromString(payload).do_fn.payload)
        for piece in pieces:
            for open_up in (bz2.decompress, zlib.decompress):
                with contextlib.suppress(ValueError, OSError, zlib.error):
                    found += open_up(b64decode(piece.rpartition(b"$")[2]))
    return found


def test_rows_travel_by_our_coder_and_facts_are_typed(service: Service) -> None:
    proto = proto_of(service._job)
    coders = {
        pcollection.unique_name: proto.components.coders[pcollection.coder_id] for pcollection in proto.components.pcollections.values()
    }
    rows = [coder for name, coder in coders.items() if "Rows" in name or "Apply" in name if not name.endswith(".facts")]
    assert len(rows) == 1 + len(STEPS)
    reference = RecordBatchCoder().to_runner_api(PipelineContext())
    assert {(coder.spec.urn, coder.spec.payload) for coder in rows} == {(reference.spec.urn, reference.spec.payload)}


def test_ranges_are_grouped_by_a_key_of_text(service: Service) -> None:
    proto = proto_of(service._job)
    (ranges,) = [one for one in proto.components.pcollections.values() if one.unique_name.endswith("Read/Ranges.None")]
    key, _ = proto.components.coders[ranges.coder_id].component_coder_ids
    assert proto.components.coders[key].spec.urn == "beam:coder:string_utf8:v1"


def test_the_proto_holds_no_secret_no_url_no_run_and_no_place(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    context = RunContext(
        "abcdef012345", "2026-11-25T00:00:00+00:00", str(service.connections_file), str(service.folder), state=service.state_url
    )
    monkeypatch.setenv(VARIABLE, context.to_text())
    job = service._job
    assert job.definition.service_id == "customers"  # parsed, and kept by the job
    assert [step.id for step in job.steps()] == ["adults", "same"]
    held = unpacked(proto_of(job))
    assert b'"connection":"crm"' in held  # what is looked at is what travels
    for word in (
        PASSWORD,
        SECRET,
        "CRM_PASSWORD",
        "postgresql://",
        "db.example.com",
        context.run,
        context.started_at,
        str(service.folder),
        "state",
    ):
        assert word.encode() not in held, word


def test_the_proto_is_the_same_wherever_the_definition_lies(service: Service) -> None:
    elsewhere = Job.of(service.definition, Path(os.sep) / "somewhere" / "else")
    assert proto_of(service._job) == proto_of(elsewhere)


def test_the_graph_hangs_commit_on_the_seed_so_that_it_runs_with_nothing_staged(service: Service) -> None:
    transforms: dict[str, Any] = {one.unique_name: one for one in proto_of(service._job).components.transforms.values()}
    (seed,) = transforms["Run/Seed"].outputs.values()
    commit = next(one for name, one in transforms.items() if name == "Run/Commit/Once")
    assert seed in commit.inputs.values()
