from __future__ import annotations

import jsonschema

from beam_pipelines.spec import json_schema


def test_the_schema_is_printed_as_it_is_shipped_and_takes_the_definition(room):
    answer = room("schema")
    assert answer.code == 0
    schema = answer.json()
    assert schema == json_schema()
    from ruamel.yaml import YAML

    jsonschema.validate(YAML(typ="safe").load((room.folder / "service.yaml").read_text()), schema)
