"""The model of an enrich step: its two forms, what belongs to which, and paths that cannot lead elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from beam_pipelines.spec import Definition, EnrichStep

API: dict[str, Any] = {
    "id": "company",
    "type": "enrich",
    "connection": "companies",
    "request": {"path": "/v1/companies/{domain}", "query": {"in": "{country}", "full": True}},
    "output": {"name": "text", "size": "bigint"},
}
TABLE: dict[str, Any] = {"id": "rate", "type": "enrich", "source": {"type": "file", "path": "rates.parquet"}, "on": {"currency": "code"}}


def messages(step: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as raised:
        EnrichStep.model_validate(step)
    return [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in raised.value.errors()]


def test_an_api_s_step_has_the_defaults_of_the_page() -> None:
    step = EnrichStep.model_validate(API)
    assert step.request is not None
    assert step.request.fields == ("domain", "country")
    assert (step.timeout.total_seconds(), step.retries, step.concurrency, step.interval) == (5.0, 3, 16, 0.0)
    assert (step.cache.size, step.cache.ttl, step.on_missing, step.on_error) == (10_000, None, "null", "deadletter")


@pytest.mark.parametrize("path", ["a", "a.b[0].c", "a[0][1]", "[0]", "[0].a", "[0][1].a.b", "[0]a"])
def test_a_path_in_an_answer_may_begin_with_a_position(path: str) -> None:
    assert EnrichStep.model_validate({**API, "fields": {path: "name", "n": "size"}}).taken == {path: "name", "n": "size"}


@pytest.mark.parametrize(("rate", "seconds"), [("100/s", 0.01), ("30 / m", 2.0), ("0.5/s", 2.0), ("3600/h", 1.0)])
def test_a_rate_is_an_interval(rate: str, seconds: float) -> None:
    assert EnrichStep.model_validate({**API, "rateLimit": rate}).interval == pytest.approx(seconds)


def test_a_table_s_step_pairs_its_keys_and_names_what_it_takes() -> None:
    step = EnrichStep.model_validate({**TABLE, "fields": ["rate"]})
    assert (step.keys_left_right, step.taken, step.how) == ((("currency", "code"),), {"rate": "rate"}, "lookup")


@pytest.mark.parametrize("step", [API, TABLE])
def test_a_step_written_out_is_the_same_step(step: dict[str, Any]) -> None:
    made = EnrichStep.model_validate(step)
    assert EnrichStep.model_validate(made.model_dump(mode="json", by_alias=True, exclude_unset=True)) == made


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"connection": None}, ": expected 'source' or 'connection', got neither"),
        ({"source": TABLE["source"]}, ": expected 'source' or 'connection', got both"),
        ({"request": None}, ": expected 'request' beside 'connection'"),
        ({"output": None}, ": expected 'output' beside 'connection'"),
        ({"on": ["domain"]}, "on: 'on' does not go with 'connection'"),
        ({"rateLimit": "fast"}, "rateLimit: expected a number of calls by time, such as 100/s, 600/m or 5000/h, got 'fast'"),
        ({"fields": ["name"]}, "fields: expected where each of name, size is in the response, got name"),
        ({"default": {"nam": 1}}, "default.nam: expected one of the output columns name, size, got 'nam'"),
        ({"default": {"name": "?"}, "onMissing": "drop"}, "default: 'default' is for rows that go on, but onMissing says that they do not"),
        ({"timeout": 0}, "timeout: expected a time above zero"),
        ({"timeout": "0m"}, "timeout: expected a time above zero"),
        ({"maxResponseSize": "0 KB"}, "maxResponseSize: expected a size above zero"),
        ({"fields": {"[0]..a": "name", "b": "size"}}, "fields: expected a path in the response such as company.name, got '[0]..a'"),
        ({"fields": {"[0].": "name", "b": "size"}}, "fields: expected a path in the response such as company.name, got '[0].'"),
    ],
)
def test_mistakes_of_an_api_s_step(change: dict[str, Any], expected: str) -> None:
    assert expected in messages({key: value for key, value in {**API, **change}.items() if value is not None})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"on": None}, ": expected 'on' beside 'source'"),
        ({"cache": {"size": 1}}, "cache: 'cache' does not go with 'source'"),
        ({"required": False}, "required: expected true: a lookup in a source fails on no row by itself, got false"),
    ],
)
def test_mistakes_of_a_table_s_step(change: dict[str, Any], expected: str) -> None:
    assert expected in messages({key: value for key, value in {**TABLE, **change}.items() if value is not None})


@pytest.mark.parametrize(
    "path", ["//evil.example/{d}", "https://evil.example/{d}", "evil/{d}", "/a?x={d}", "/a#{d}", "/a/../{d}", "/a b/{d}", "/{d}/{e"]
)
def test_a_path_says_neither_host_nor_query(path: str) -> None:
    (message,) = [one for one in messages({**API, "request": {"path": path}}) if one.startswith("request.path: expected a path")]
    assert message


def test_a_request_asks_for_something_of_the_row() -> None:
    assert any("every row would ask the same" in one for one in messages({**API, "request": {"path": "/all"}}))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"path": "/x/{d}", "batch": {"match": {"d": "id"}}}, "a path has room for one key"),
        ({"path": "/x", "query": {"id": "{d}"}, "batch": {"match": {"e": "id"}}}, "expected one path for each of d, got e"),
        ({"path": "/x", "query": {"id": "no {d}"}, "batch": {"match": {"d": "id"}}}, "it stands for a list"),
        ({"path": "/x", "query": {"id": "{d}"}, "batch": {"size": 1001, "match": {"d": "id"}}}, "1000"),
        ({"path": "/x", "body": {"id": "{d}"}}, "expected method: POST beside 'body', got GET"),
    ],
)
def test_mistakes_of_a_request(request_: dict[str, Any], expected: str) -> None:
    assert any(expected in one for one in messages({**API, "request": request_}))


def test_a_price_of_enrichment_goes_with_any_enrich_step() -> None:
    pipeline = {
        "source": {"type": "file", "path": "in.parquet"},
        "transformations": [API],
        "destination": {"type": "database", "connection": "w", "table": "t"},
    }
    pricing = {"model": "per-record", "rate": 0, "additionalCosts": {"enrichment": 1}}
    assert Definition.model_validate({"name": "A", "pipeline": pipeline, "pricing": pricing}).connection_names == ("w", "companies")
    side = {"id": "j", "type": "join", "on": ["id"], "source": {**pipeline["source"], "transformations": [API]}}  # type: ignore[dict-item]
    for steps in ([], [side]):
        with pytest.raises(ValidationError, match="expected the id of a step, got 'enrichment'") as raised:
            Definition.model_validate({"name": "A", "pipeline": {**pipeline, "transformations": steps}, "pricing": pricing})
    assert "an enrich step in the source of another step is not metered" in str(raised.value.errors())
    with pytest.raises(ValidationError, match="expected the id of a step, got 'enrichment'"):
        Definition.model_validate({"name": "A", "pipeline": {**pipeline, "transformations": []}, "pricing": pricing})
