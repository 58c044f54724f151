"""What the pages promise to be complete about, held against the code; links; and the rules of their language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from beam_pipelines import spec
from beam_pipelines.errors import CODES
from beam_pipelines.spec.rule.kinds import _HOMES
from beam_pipelines.transforms.registry import SERVED

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(DOCS.rglob("*.md"))
GENERATED = DOCS / "benchmarks.md"  # by `make bench`

# Codes without an executable example: what would provoke them cannot be had in a test of the docs.
NOT_SHOWN = {
    "extra-missing": "every extra is installed where the tests run",
    "schema-changed": "the source would have to change between two steps of one run",
}
STOPS_THE_PLAN = CODES[: CODES.index("row-invalid")]
ROWS = CODES[CODES.index("row-invalid") : CODES.index("unreachable")]


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str, mark: str) -> dict[str, str]:
    parts = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def prose_of(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def shown_outputs(text: str) -> str:
    return "\n".join(re.findall(r"^```console\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


def test_every_error_code_has_a_section_and_every_section_a_code():
    assert sorted(sections(text_of("errors.md"), "###")) == sorted(CODES)


@pytest.mark.parametrize("code", [code for code in STOPS_THE_PLAN if code not in NOT_SHOWN])
def test_codes_that_stop_the_plan_are_provoked_in_their_section(code):
    output = shown_outputs(sections(text_of("errors.md"), "###")[code])
    assert f"[{code}; see docs/errors.md#{code}]" in output or f"[{code}]" in output


def test_codes_of_rows_are_provoked():
    output = shown_outputs(sections(text_of("errors.md"), "##")["Rows"])
    assert [code for code in ROWS if code not in NOT_SHOWN and not re.search(rf"\b{code}\b", output)] == []


def test_the_catalogue_of_converters_is_the_code_s():
    from beam_pipelines.transforms.converters.catalogue import CATALOGUE

    table = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", text_of("write-a-service.md"), flags=re.MULTILINE))
    for name, entry in CATALOGUE.items():
        usage = f"{name}({', '.join(parameter.name for parameter in entry.parameters)})" if entry.parameters else name
        assert table[usage] == entry.about


def test_the_page_of_expressions_lists_every_function_operator_and_type():
    from beam_pipelines.columnar.expression import vocabulary

    page = prose_of(DOCS / "expressions.md")
    listed = set(re.findall(r"`([^`]+)`", page))
    known = vocabulary.FUNCTIONS | vocabulary.OPERATORS | set(vocabulary.CLOCK)
    types = {name for name in vocabulary.TYPES if " " not in name}
    assert sorted((known | types) - listed) == []
    words = set(re.findall(r"`([a-z_0-9]+)`", page.partition("## Functions")[2]))
    assert sorted(words - known - types - {"function", "with", "zone"}) == []


def served_keys() -> Iterator[tuple[str, str]]:
    from beam_pipelines.spec import destination, mapping, pricing, source

    models = {
        "Definition": spec.Definition,
        "Cursor": source.Cursor,
        "DatabaseSource": source.DatabaseSource,
        "FilterStep": spec.FilterStep,
        "MapStep": spec.MapStep,
        "FunctionStep": spec.FunctionStep,
        "FieldMapping": mapping.FieldMapping,
        "TableDestination": destination.TableDestination,
        "MeteredPricing": pricing.MeteredPricing,
        "ErrorBudget": spec.ErrorBudget,
        "Retention": spec.Retention,
        "Schedule": spec.Schedule,
        "Batch": spec.Batch,
        "Processing": spec.Processing,
        "KafkaSource": source.KafkaSource,
        "Metadata": source.Metadata,
        "WindowStep": spec.WindowStep,
        "Validation": spec.Validation,
        "ValidateStep": spec.ValidateStep,
        "Case": spec.Case,
        "MockedRows": spec.MockedRows,
        "Expectation": spec.Expectation,
        "DeadRow": spec.DeadRow,
        "Actions": spec.Actions,
        "Reference": spec.Reference,
        **{name: getattr(spec, name) for home in _HOMES.values() for _, name in [home.split(":")]},
    }
    not_served: set[str] = set()
    for name, model in models.items():
        for key, field in model.model_fields.items():
            written = str(field.serialization_alias or field.alias or key)
            if written not in not_served:
                yield name, written


@pytest.mark.parametrize(("model", "key"), sorted(set(served_keys())))
def test_every_key_that_is_served_is_explained(model, key):
    pages = (
        *("write-a-service", "transforms", "incremental-loads", "test-a-service", "rules", "check-quality", "process-files"),
        "run-a-stream",
    )
    page = "".join(text_of(f"{name}.md") for name in pages)
    assert re.search(rf"`{re.escape(key)}[`:]|^ *-? *\{{?{re.escape(key)}: ", page, flags=re.MULTILINE), f"{model}.{key}"


def steps_shown(section: str) -> set[str]:
    """Types of the steps in the examples that `test_code_blocks` runs: files, and places in files."""
    shown = set()
    for block in re.findall(
        r"^```yaml\n# [\w./-]+\.yaml(?:: pipeline\.transformations)?\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL
    ):
        value = YAML(typ="safe", pure=True).load(block)
        pipeline = isinstance(value, dict) and "pipeline" in value
        stream = isinstance(value, dict) and "stream" in value
        steps = value["pipeline"].get("transformations", []) if pipeline else value["stream"]["processors"] if stream else value
        shown |= {step["type"] for step in steps if isinstance(step, dict)}
    return shown


@pytest.mark.parametrize("kind", sorted([*SERVED, "window"]))
def test_every_step_that_is_served_has_its_section_with_an_example_that_is_run(kind):
    assert kind in steps_shown(sections(text_of("transforms.md"), "##")[kind])


@pytest.mark.parametrize("kind", sorted(_HOMES))
def test_every_rule_has_its_section_with_its_keys_and_an_example_that_is_run(kind):
    section = sections(text_of("rules.md"), "##")[kind]
    model = getattr(spec, _HOMES[kind].partition(":")[2])
    own = {
        str(field.serialization_alias or field.alias or key)
        for key, field in model.model_fields.items()
        if key not in spec.RuleBase.model_fields
    }
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", section, flags=re.MULTILINE))))
    assert own - named == set()
    examples = "".join(re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL))
    assert f'"type": "{kind}"' in examples


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = prose_of(page)
    for place, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", text):
        target = (page.parent / place).resolve() if place else page
        assert target.exists() or target == GENERATED, f"{page.name} links to {place}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, f"{page.name} links to #{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != GENERATED], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_sentence_has_a_line_of_its_own_and_lines_are_short(page):
    text = prose_of(page)
    prose = [line for line in text.splitlines() if line and not line.startswith(("|", "#", "-", " ")) and not re.match(r"\d+\. ", line)]
    joined = [line for line in prose if re.search(r"[.!?] [A-Z]", re.sub(r"\*\*[^*]+\*\*|\[[^\]]+\]|`[^`]+`", "x", line))]
    assert joined == []
    assert [line for line in prose if len(line) > 200] == []


def test_every_command_of_the_command_line_is_on_the_page_of_operation():
    from beam_pipelines.cli.main import _parser

    actions = [action for action in _parser()._actions if hasattr(action, "choices") and isinstance(action.choices, dict)]
    assert [name for name in actions[0].choices if f"`{name}" not in text_of("operate.md")] == []


def test_the_readme_names_every_step_that_is_served():
    (row,) = re.findall(r"^\| Steps \| (.*?) \|", text_of("../README.md"), flags=re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", row)) == sorted([*SERVED, "window"])
