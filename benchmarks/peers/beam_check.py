"""Beam by hand, with the kernels of ours: the five rules of the quality case over record batches, in the fewest steps that tell the truth.

Elements are record batches with Arrow's IPC as their coder. Keys of `unique` go to shards by their hash, what repeats comes back as a side
input, and each batch is then judged and told apart. Good rows and rejected ones, with their reasons, are written as Parquet; counts are
printed. Nothing else that a service does is done: no plan, no state store, no dead letters, no commit, no counts by step.

Run by the interpreter of ours: python beam_check.py INPUT REFERENCE OUTPUT REJECTED
"""

import json
import sys
from dataclasses import replace

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList, TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.columnar.coder import register
from beam_pipelines.columnar.hashing import row_hashes
from beam_pipelines.rules.compiled import compile_rules
from beam_pipelines.rules.key.unique import repeats
from beam_pipelines.rules.models import rule_set
from beam_pipelines.rules.split import split
from beam_pipelines.rules.tally import Tally
from benchmarks.signups import RULES

_SHARDS = 16
_BATCH = 65_536
_KEY, _ROW = "key", "row"
_FIRST = b"first"


def _batches(path):
    """Batches of a file, each with the number of its first row in the file."""
    first = 0
    for batch in pq.ParquetFile(path).iter_batches(_BATCH):
        yield batch.replace_schema_metadata({_FIRST: str(first)})
        first += batch.num_rows


def _first_row(batch):
    return int(batch.schema.metadata[_FIRST])


class _Rules(beam.DoFn):
    def __init__(self, path, reference):
        self._path, self._reference = path, reference

    def setup(self):
        models, actions = rule_set([*RULES[:-1], {**RULES[-1], "reference": {"table": "customers", "field": "id"}}], None)
        schema, reference = pq.read_schema(self._path), pq.read_table(self._reference)
        self._rules = compile_rules(models, schema, actions, lambda _: reference)
        self._at = next(at for at, rule in enumerate(self._rules) if rule.unique is not None)
        self._unique = self._rules[self._at].unique


class _Keys(_Rules):
    def process(self, batch):
        (keys,), rows = self._unique.keys(batch)
        keyed = pa.RecordBatch.from_arrays([keys, pa.array(rows + _first_row(batch))], names=[_KEY, _ROW])
        shards = (row_hashes(keyed, [_KEY], one_type=True) % _SHARDS).astype(np.int64)
        keyed = keyed.take(pa.array(np.argsort(shards, kind="stable")))
        ends = np.cumsum(np.bincount(shards, minlength=_SHARDS)).tolist()
        for shard, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end > begin:
                yield shard, keyed.slice(begin, end - begin)


class _Repeats(_Rules):
    def process(self, shard):
        rows = pa.Table.from_batches(list(shard[1])).combine_chunks().sort_by(_ROW).to_batches()[0]
        found = repeats([[rows.column(_KEY)]], self._unique.keep)
        yield rows.select([_ROW]).take(pa.array(found.rows))


class _Judge(_Rules):
    def process(self, batch, notes):
        repeated = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *(np.asarray(note.column(_ROW)) for note in notes)]))
        first = _first_row(batch)
        begin, end = np.searchsorted(repeated, [first, first + batch.num_rows])
        judgements = [
            self._unique.told(batch, repeated[begin:end] - first) if at == self._at else rule.row.judge(batch)
            for at, rule in enumerate(self._rules)
        ]
        parts = split(self._rules, batch, judgements)
        yield parts.valid
        yield TaggedOutput("rejected", self._with_reasons(parts, judgements))
        yield TaggedOutput("counts", [Tally.of(judgement, batch.num_rows) for judgement in judgements])

    def _with_reasons(self, parts, judgements):
        said = {row: [] for row in np.flatnonzero(parts.rejects).tolist()}
        for rule, judgement in zip(self._rules, judgements, strict=True):
            for found in judgement.findings:
                for row in found.rows.tolist():
                    said[row].append(f"{rule.model.id}: {found.message}")
        return parts.rejected.append_column("reasons", pa.array(["; ".join(one) for one in said.values()], pa.string()))


class _Write(beam.DoFn):
    def __init__(self, path):
        self._path, self._writer = path, None

    def process(self, batch):
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, batch.schema, compression="snappy")
        self._writer.write_batch(batch)

    def finish_bundle(self):
        if self._writer is not None:
            self._writer.close()


def _sum(counts):
    return [sum(one, replace(one[0], **dict.fromkeys(vars(one[0]), 0))) for one in zip(*counts, strict=True)]


def _show(counts):
    print(json.dumps({"counts": {rule["id"]: tally.violated for rule, tally in zip(RULES, counts, strict=True)}}))


def main() -> None:
    source, reference, output, rejected = sys.argv[1:]
    register()
    pipeline = beam.Pipeline(runner=FnApiRunner())
    rows = pipeline | beam.Create([source]) | beam.FlatMap(_batches).with_output_types(pa.RecordBatch)
    notes = (
        rows
        | beam.ParDo(_Keys(source, reference)).with_output_types(tuple[int, pa.RecordBatch])
        | beam.GroupByKey()
        | beam.ParDo(_Repeats(source, reference)).with_output_types(pa.RecordBatch)
    )
    judge = beam.ParDo(_Judge(source, reference), AsList(notes)).with_output_types(pa.RecordBatch, rejected=pa.RecordBatch)
    judged = rows | judge.with_outputs("rejected", "counts", main="valid")
    judged.valid | "Write" >> beam.ParDo(_Write(output))
    judged.rejected | "Write rejected" >> beam.ParDo(_Write(rejected))
    judged.counts | beam.CombineGlobally(lambda counts: _sum([one for one in counts if one])).without_defaults() | beam.Map(_show)
    pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main()
