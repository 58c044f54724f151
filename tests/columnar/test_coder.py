from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.coders import Coder, registry
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, execution
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines.columnar import coder, origin

ROWS = 100_000
PART = 1_000
PARTS = (10, 57, 99)


def _whole() -> pa.RecordBatch:
    text = pa.array([f"customer number {i} of many" for i in range(ROWS)])
    batch = pa.record_batch(
        {"id": np.arange(ROWS), "name": text, "city": text.dictionary_encode(), "tags": pa.array([["x", f"y{i}"] for i in range(ROWS)])}
    )
    return origin.attach(batch, "customers", key=["id"])


def _own_bytes(part: pa.RecordBatch) -> int:
    return sum(pa.array(column.to_pylist(), type=column.type).nbytes for column in part.columns)


class _Cut(beam.DoFn):  # type: ignore[misc]
    """Yields a slice of a large batch on a tag, alone or within something that Beam has no coder for."""

    def __init__(self, shape: str) -> None:
        self.shape = shape

    def setup(self) -> None:
        self.whole = _whole()

    def process(self, part: int) -> Iterator[Any]:
        piece = self.whole.slice(part * PART, PART)
        yield {
            "main": piece,
            "tagged": beam.pvalue.TaggedOutput("side", piece),
            "tuple": beam.pvalue.TaggedOutput("side", ("load", piece)),
            "dict": beam.pvalue.TaggedOutput("side", {"batch": piece, "n": 1}),
            "list": beam.pvalue.TaggedOutput("side", [piece]),
        }[self.shape]


def _first_id(element: Any) -> int:
    found = element[1] if isinstance(element, tuple) else element["batch"] if isinstance(element, dict) else element
    batch = found[0] if isinstance(found, list) else found
    assert batch.num_rows == PART
    return int(batch.column("id")[0].as_py())


def _count(monkeypatch: pytest.MonkeyPatch, buffer: Any, passed: list[int]) -> None:
    append = buffer.append

    def counted(self: Any, element: bytes) -> None:
        passed.append(len(element))
        append(self, element)

    monkeypatch.setattr(buffer, "append", counted)


@pytest.mark.parametrize("shape", ["main", "tagged", "tuple", "dict", "list"])
def test_slices_cross_a_real_pipeline_in_at_most_1_2_times_their_own_bytes(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[int] = []
    # Where the runner keeps what one stage has encoded for the next, grouped or not.
    for buffer in (execution.ListBuffer, execution.GroupingBuffer):
        _count(monkeypatch, buffer, passed)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        outputs = pipeline | beam.Create(PARTS) | beam.ParDo(_Cut(shape)).with_outputs("side", main="main")
        pieces = outputs.main if shape == "main" else outputs.side
        assert_that(pieces | beam.Reshuffle() | beam.Map(_first_id), equal_to([part * PART for part in PARTS]))

    whole = _whole()
    own = sum(_own_bytes(whole.slice(part * PART, PART)) for part in PARTS)
    # The lower bound shows that the batches did pass here, once. 1,000 bytes each: the messages of the stream, and Beam's windows and keys.
    assert own <= sum(passed) <= 1.2 * own + 1_000 * len(PARTS)


def test_the_type_has_the_coder_alone_and_within_tuples() -> None:
    coder.register()
    coder.register()

    assert registry.get_coder(pa.RecordBatch) == coder.RecordBatchCoder()
    pair = registry.get_coder(beam.typehints.Tuple[str, pa.RecordBatch])
    batch = pa.record_batch({"a": [1, 2]})
    assert pair.decode(pair.encode(("x", batch))) == ("x", batch)
    assert b"ARROW" not in pair.encode(("x", batch))  # the stream format, not the file format


def test_sizes_are_estimated_without_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.record_batch({"a": np.arange(100_000)}).slice(10, 1_000)
    encoded = len(coder.RecordBatchCoder().encode(batch))

    def refuse(_: pa.RecordBatch) -> bytes:
        raise AssertionError("encoded only to be measured")

    monkeypatch.setattr("beam_pipelines.columnar.ipc.encode", refuse)

    assert coder.RecordBatchCoder().estimate_size(batch) == pytest.approx(encoded, rel=0.06)
    assert coder.RecordBatchCoder().get_impl().estimate_size(batch) == pytest.approx(encoded, rel=0.06)


def test_a_proto_that_names_the_urn_is_read() -> None:
    proto = beam_runner_api_pb2.Coder(spec=beam_runner_api_pb2.FunctionSpec(urn=coder.URN))

    assert Coder.from_runner_api(proto, PipelineContext()) == coder.RecordBatchCoder()


_WRITER = """
    import sys
    import apache_beam as beam, pyarrow as pa
    from apache_beam.transforms import environments
    import beam_pipelines.columnar.coder

    def batch(n: int) -> pa.RecordBatch:
        return pa.record_batch({"n": list(range(n))})

    def total(b: pa.RecordBatch) -> int:
        return sum(b.column(0).to_pylist())

    def save(values, path):
        open(path, "w").write(repr(sorted(values)))

    if __name__ == "__main__":
        target, out = sys.argv[1:3]
        p = beam.Pipeline(argv=sys.argv[3:])
        sums = p | beam.Create([3, 5]) | beam.Map(batch).with_output_types(pa.RecordBatch) | beam.Reshuffle() | beam.Map(total)
        sums | beam.combiners.ToList() | beam.Map(save, out)
        if target == "run":
            p.run().wait_until_finish()
        else:
            here = environments.EmbeddedPythonEnvironment.default()
            open(target, "wb").write(p.to_runner_api(default_environment=here).SerializeToString())
"""
_READER = """
    import sys
    import apache_beam as beam
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    if __name__ == "__main__":
        proto = beam_runner_api_pb2.Pipeline.FromString(open(sys.argv[1], "rb").read())
        FnApiRunner().run_via_runner_api(proto, beam.options.pipeline_options.PipelineOptions([])).wait_until_finish()
"""


def _python(folder: Path, name: str, text: str, *arguments: str) -> None:
    script = folder / name
    script.write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("imported", ["import beam_pipelines.columnar.coder", ""], ids=["coder imported", "nothing imported"])
def test_a_pipeline_written_by_one_process_runs_in_another(tmp_path: Path, imported: str) -> None:
    proto, out = tmp_path / "pipeline.pb", tmp_path / "out.txt"

    _python(tmp_path, "write.py", _WRITER, str(proto), str(out))
    _python(tmp_path, "read.py", f"{imported}\n{textwrap.dedent(_READER)}", str(proto))

    assert out.read_text() == "[3, 10]"


def test_worker_processes_that_have_imported_nothing_find_the_coder(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"

    _python(tmp_path, "run.py", _WRITER, "run", str(out), "--direct_running_mode=multi_processing", "--direct_num_workers=2")

    assert out.read_text() == "[3, 10]"
