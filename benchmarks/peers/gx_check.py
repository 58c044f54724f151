"""Great Expectations: the five rules of the quality case over a pandas frame in memory. Seconds of each call.

Every row that fails is told by its index (COMPLETE), which is what it takes to tell rows apart; they are not told apart here, for it does
not. Its unique is false of every member of a repeated value.

python gx_check.py INPUT REFERENCE CALLS
"""

import json
import os
import sys
import time

os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

_PATTERN = r"^[^@]+@[^@]+\.[^@]+$"
_REQUIRED = ("id", "email", "created_at")


def main() -> None:
    rows, customers = pd.read_parquet(sys.argv[1]), pd.read_parquet(sys.argv[2])["id"].tolist()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("signups")
    expectations = {
        **{f"required {name}": gxe.ExpectColumnValuesToNotBeNull(column=name) for name in _REQUIRED},
        "format": gxe.ExpectColumnValuesToMatchRegex(column="email", regex=_PATTERN),
        "range": gxe.ExpectColumnValuesToBeBetween(column="age", min_value=0, max_value=150),
        "unique": gxe.ExpectColumnValuesToBeUnique(column="email"),
        "known": gxe.ExpectColumnValuesToBeInSet(column="customer_id", value_set=customers),
    }
    suite = context.suites.add(gx.ExpectationSuite(name="five", expectations=list(expectations.values())))
    definition = asset.add_batch_definition_whole_dataframe("whole")
    seconds = []
    for _ in range(int(sys.argv[3])):
        batch = definition.get_batch({"dataframe": rows})
        begun = time.perf_counter()
        results = batch.validate(suite, result_format="COMPLETE").results
        seconds.append(time.perf_counter() - begun)
    counts = dict.fromkeys(("required", "format", "range", "unique", "known"), 0)
    failed = set()
    for result in results:
        kind, column = result.expectation_config.type, result.expectation_config.kwargs["column"]
        (name,) = (name for name, one in expectations.items() if one.expectation_type == kind and one.column == column)
        counts[name.split()[0]] += result.result["unexpected_count"]
        failed.update(result.result["unexpected_index_list"])
    print(json.dumps({"seconds": seconds, "counts": counts, "rejected": len(failed)}))


if __name__ == "__main__":
    main()
