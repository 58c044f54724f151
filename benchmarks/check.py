"""Ours without Beam: the five rules of the quality case over a table in memory, every violation gathered. Seconds of each call.

python -m benchmarks.check INPUT REFERENCE CALLS
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow.parquet as pq

from beam_pipelines.rules import check
from benchmarks.signups import RULES


def main() -> None:
    rows, customers = pq.read_table(sys.argv[1]), pq.read_table(sys.argv[2])
    rules = [*RULES[:-1], {**RULES[-1], "reference": {"table": "customers", "field": "id"}}]
    seconds = []
    for _ in range(int(sys.argv[3])):
        begun = time.perf_counter()
        result = check(rows, rules, references={"customers": customers})
        seconds.append(time.perf_counter() - begun)
    counts = {rule.rule.id: rule.tally.violated for rule in result.rules}
    told = {"seconds": seconds, "counts": counts, "valid": result.valid.num_rows, "rejected": result.rejected.num_rows}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
