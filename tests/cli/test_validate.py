from __future__ import annotations

import pytest

from beam_pipelines import examples


@pytest.mark.parametrize(
    "words", [["validate", "service.yaml"], ["run", "service.yaml", "--validate"], ["etl", "--service", "service.yaml", "--validate"]]
)
def test_a_definition_is_valid_without_any_connection(room, words):
    (room.folder / "connections.yaml").unlink()
    answer = room(*words)
    assert answer.code == 0, answer.err
    assert answer.out == "service.yaml: valid, service 'customers' of kind etl, 0 steps\n"
    assert room(*words, "--output", "json").json() == {
        "valid": True,
        "serviceId": "customers",
        "kind": "etl",
        "missing": [],
        "served": True,
    }


def test_every_mistake_is_shown_at_its_line(room):
    room.change("type: automation", "typo: automation")
    room.change('"0 */6 * * *"', '"0 */6 * *"')
    room.change("rate: 0.5", "rate: cheap")
    answer = room("validate", "service.yaml")
    assert answer.code == 2
    lines = [line.split(":")[1] for line in answer.err.splitlines() if line.startswith("service.yaml:")]
    assert lines == ["2", "15", "16"]
    assert answer.err.count("^") >= 3


def test_every_step_that_cannot_be_run_is_found_without_running(room):
    room.change(
        "transformations: []",
        """transformations:
    - {id: normalise, type: function}
    - {id: enrich, type: function, handler: "functions:enrichh", output: {id: bigint}}
    - id: with-orders
      type: join
      on: [id]
      source: {type: file, path: orders.parquet, transformations: [{id: normalised, type: function}]}
    - id: and-others
      type: union
      source: {type: file, path: others.parquet, transformations: [{id: normalized, type: function}]}""",
    )
    room.write("functions.py", "def normalize(row):\n    return row\n")
    answer = room("validate", "service.yaml")
    assert answer.code == 2
    assert "4 steps cannot be run" in answer.err
    shown = [line for line in answer.err.splitlines() if line.startswith("service.yaml:")]
    assert [line.split(":")[1] for line in shown] == ["10", "11", "15", "18"]
    assert "did you mean 'normalize'?" in shown[0]
    assert "did you mean 'normalize'?" in shown[2], "also in the source of a join"
    assert "did you mean 'normalize'?" in shown[3], "and of a union"


@pytest.mark.parametrize("name", examples.names())
def test_every_packaged_definition_is_valid(room, name, capsys):
    from beam_pipelines.cli.main import main

    code = main(["validate", str(examples.path(name)), "--output", "json"])
    shown = capsys.readouterr()
    if name == "customer_data_etl" or code == 0:
        return
    # An ETL of the brief that names functions, which are the user's to write.
    assert "function" in shown.err, shown.err


def test_an_incomplete_definition_says_what_is_missing(room):
    path = examples.path("pricing_per_gb")
    answer = room("validate", str(path))
    assert answer.code == 0
    assert "it cannot be run: pipeline or stream or batch or validation is missing" in answer.out
