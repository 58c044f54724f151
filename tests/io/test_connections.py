from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from beam_pipelines.errors import PlanError, SpecError
from beam_pipelines.io.connections import Connection, Connections, variable
from beam_pipelines.io.url import DatabaseUrl

PASSWORD = "p@ss/w?rd#1 %41:"


def connections(folder: Path, text: str, **environ: str) -> Connections:
    file = folder / "connections.yaml"
    file.write_text(text)
    return Connections(file, environ)


def every_connection(folder: Path, text: str) -> list[Connection]:
    known = connections(folder, text)
    return [known.get(name) for name in known.names()]


def test_a_url_and_a_mapping_name_the_same_database(tmp_path: Path) -> None:
    known = connections(tmp_path, "a: postgresql://u:secret@h:5433/crm\nb: {url: postgresql://h:5433/crm, user: u, password: secret}\n")
    assert known.get("a").url == known.get("b").url == "postgresql://u:secret@h:5433/crm"
    assert known.get("a").kind == "url"


@pytest.mark.parametrize(
    ("written", "system"),
    [
        ("postgres://h/d", "postgresql"),
        ("postgresql+psycopg://h/d", "postgresql"),
        ("sqlite:///crm.db", "sqlite"),
        ("crm.sqlite", "sqlite"),
        ("./in/crm.db", "sqlite"),
        ("warehouse.duckdb", "duckdb"),
        ("duckdb:///warehouse.duckdb", "duckdb"),
        ("mysql+pymysql://h/d", "mysql"),
    ],
)
def test_the_system_follows_from_the_url(tmp_path: Path, written: str, system: str) -> None:
    assert connections(tmp_path, f"x: {written}").get("x").system == system


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("postgres://u:s3cr3t@h:5433/crm?sslmode=require&password=s3cr3t", "postgresql://h:5433/crm"),
        ("postgresql+psycopg://u@h/crm?application_name=x", "postgresql://h/crm"),
        ("postgresql:///crm?host=/var/run&port=5433&user=u", "postgresql:///crm?host=/var/run&port=5433"),
        ("mysql+pymysql://u:s3cr3t@h/d", "mysql://h/d"),
    ],
)
def test_the_place_of_a_database_stays_when_user_password_or_settings_change(tmp_path: Path, written: str, place: str) -> None:
    assert connections(tmp_path, f"x: {written}").get("x").place == place


def test_relative_files_are_beside_the_connections_file(tmp_path: Path) -> None:
    known = connections(
        tmp_path, "a: crm.db\nb: sqlite:///data/../crm.db\nc: duckdb:///w.duckdb\nd: {path: ./in}\ne: file:in\nf: sqlite:////abs/x.db"
    )
    assert known.get("a").path == known.get("b").path == tmp_path / "crm.db"
    assert known.get("a").url == f"sqlite:////{str(tmp_path / 'crm.db').lstrip('/')}"
    assert known.get("c").path == tmp_path / "w.duckdb"
    assert known.get("d").path == known.get("e").path == tmp_path / "in"
    assert known.get("f").path == Path("/abs/x.db")


def test_file_urls_of_buckets(tmp_path: Path) -> None:
    known = connections(
        tmp_path, "a: file:///data/my%20files\nb: {url: 'file:///data'}\nc: {endpoint: 'http://h', accessKey: k, secretKey: s}"
    )
    assert known.get("a").path == Path("/data/my files")
    assert known.get("b").path == Path("/data")
    assert known.get("c").path is None
    assert {known.get(name).kind for name in "abc"} == {"bucket"}


def test_kafka_settings_keep_their_types(tmp_path: Path) -> None:
    known = connections(
        tmp_path, "kafka: {bootstrap.servers: 'h:9092', retries: 3, enable.idempotence: true, sasl.password: '${env:PW}'}", PW="hush"
    )
    assert known.get("kafka").kind == "kafka"
    assert known.get("kafka").settings == {"bootstrap.servers": "h:9092", "retries": 3, "enable.idempotence": True, "sasl.password": "hush"}


def test_the_environment_is_asked_second() -> None:
    name = variable("crm-database")
    assert name == "BEAM_PIPELINES_CONNECTION_CRM_DATABASE"
    known = Connections(None, {name: "postgresql://h/env", variable("bucket.in"): '{"path": "/data"}'})
    assert known.get("crm-database").url == "postgresql://h/env"
    assert known.get("bucket.in").path == Path("/data")


def test_the_file_wins_over_the_environment(tmp_path: Path) -> None:
    assert connections(tmp_path, "crm: postgresql://h/file", **{variable("crm"): "postgresql://h/env"}).get("crm").url.endswith("/file")


def test_an_unknown_name_shows_both_places_and_the_nearest(tmp_path: Path) -> None:
    known = connections(tmp_path, "crm-database: postgresql://u:hidden-word@h/d")
    with pytest.raises(PlanError) as raised:
        known.get("crm-databse")
    text = str(raised.value)
    assert raised.value.code == "connection-missing"
    assert str(tmp_path / "connections.yaml") in text
    assert "BEAM_PIPELINES_CONNECTION_CRM_DATABSE" in text
    assert "did you mean 'crm-database'?" in text
    assert "hidden-word" not in text


def test_without_a_file_the_error_says_how_to_give_one() -> None:
    with pytest.raises(PlanError, match="--connections FILE"):
        Connections(None, {}).get("crm")


def test_references_are_resolved_only_when_used_and_encoded_in_urls(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(PASSWORD + "\n")
    known = connections(
        tmp_path,
        "a: postgresql://u:${env:PW}@h/d\nb: postgresql://u:${file:secret.txt}@h/d\nc: ${env:URL}\nd: postgresql://${env:NONE}@h/d",
        PW=PASSWORD,
        URL="postgresql://u:x%40y@h/d",
    )
    for name in "ab":
        assert make_url(known.get(name).url).password == PASSWORD
    assert known.get("c").url == "postgresql://u:x%40y@h/d"
    missing = known.get("d")
    with pytest.raises(SpecError, match="environment variable 'NONE'") as raised:
        missing.url  # noqa: B018
    assert raised.value.code == "secret-missing"


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.txt") as raised:
        connections(tmp_path, "a: postgresql://u:${file:nowhere.txt}@h/d").get("a").url  # noqa: B018
    assert raised.value.code == "secret-missing"


@pytest.mark.parametrize("kind", ["gcp-secret", "aws-secret"])
def test_secrets_of_clouds_are_understood_but_not_served(tmp_path: Path, kind: str) -> None:
    with pytest.raises(PlanError, match=r"\$\{env:NAME\} and \$\{file:PATH\}") as raised:
        connections(tmp_path, f"a: 'postgresql://u:${{{kind}:projects/p/s}}@h/d'").get("a").url  # noqa: B018
    assert raised.value.code == "not-served"


@pytest.mark.parametrize(
    ("reference", "hint"), [("${PW}", r"\$\{env:PW\}"), ("${evn:PW}", r"\$\{env:\.\.\.\}"), ("${vault:x}", r"\$\{env:NAME\}")]
)
def test_a_misspelt_reference_is_shown_right(tmp_path: Path, reference: str, hint: str) -> None:
    with pytest.raises(SpecError, match=hint):
        connections(tmp_path, f"a: 'postgresql://u:{reference}@h/d'").get("a").url  # noqa: B018


def test_a_doubled_dollar_is_no_reference(tmp_path: Path) -> None:
    assert connections(tmp_path, "kafka: {bootstrap.servers: h, x: '$${env:A}'}").get("kafka").settings["x"] == "${env:A}"


@given(
    user=st.text("ab@:/%ü", min_size=1, max_size=6).filter(lambda text: ":" not in text),
    password=st.text(max_size=12).filter(lambda t: t.isprintable()),
)
def test_any_user_and_password_survive_a_round_trip(user: str, password: str) -> None:
    parsed = DatabaseUrl("postgresql", user, password, "h:5432/d", "sslmode=require")
    assert DatabaseUrl.parse(parsed.text()) == parsed


@pytest.mark.parametrize(
    ("url", "user", "password", "rest"),
    [
        ("postgresql://u:p@ss@h/d", "u", "p@ss", "h/d"),
        ("postgresql://u:p/w@h/d", "u", "p/w", "h/d"),
        ("postgresql://u:a?b#c@h:1/d", "u", "a?b#c", "h:1/d"),
        ("postgresql://u:pw@h/d?application_name=a@b", "u", "pw", "h/d"),
        ("postgresql://h/d?application_name=a@b", "", None, "h/d"),
        ("postgresql://u:p@s?s@h/d?application_name=a@b", "u", "p@s?s", "h/d"),
        ("postgresql://u@h/d", "u", None, "h/d"),
    ],
)
def test_passwords_may_hold_any_character_unencoded(url: str, user: str, password: str | None, rest: str) -> None:
    parsed = DatabaseUrl.parse(url)
    assert parsed is not None
    assert (parsed.user, parsed.password, parsed.rest) == (user, password, rest)


def test_no_secret_is_shown_by_anything(tmp_path: Path) -> None:
    """Greps every text the module can produce, tracebacks included."""
    word = "hush-hush-42"
    (tmp_path / "s").write_text(word)
    known = connections(
        tmp_path,
        f"""
a: postgresql://u:{word}@h/d
b: postgresql://u:${{env:PW}}@h/d
c: {{url: postgresql://h/d, user: u, password: {word}}}
d: {{bootstrap.servers: h, sasl.password: {word}}}
e: {{endpoint: http://h, accessKey: {word}, secretKey: {word}}}
f: postgresql://h/d?password={word}&sslmode=require
g: ${{env:URL}}
h: u:{word}@h/d
i: sqlite:///x.db?key={word}
j: {{url: postgresql://h/d, pasword: {word}}}
k: [{word}]
""",
        PW=word,
        URL=f"postgresql://u:{word}@h/d",
    )
    texts: list[str] = [repr(known)]
    for name in [*known.names(), "lost"]:
        try:
            connection = known.get(name)
            texts += [repr(connection), str(connection), connection.display, str(connection.references)]
            settings: Any = connection.settings
            assert word in str(settings)
            texts.append(connection.url)
            texts[-1] = known.redact(texts[-1])
        except SpecError:
            texts.append(traceback.format_exc())
    assert word not in "\n".join(texts)
    assert word not in known.redact(f"could not connect to postgresql://u:{word}@h/d")


def test_drivers_texts_are_redacted_in_every_spelling(tmp_path: Path) -> None:
    known = connections(tmp_path, "a: postgresql://u:${env:PW}@h/d", PW=PASSWORD)
    url = known.get("a").url
    text = known.redact(f"bad: {url} / {PASSWORD} / {PASSWORD!r}")
    assert PASSWORD not in text
    assert url.split("@")[0].rsplit(":")[-1] not in text


def test_connections_are_never_pickled(tmp_path: Path) -> None:
    known = connections(tmp_path, "a: postgresql://u:hush@h/d")
    for value in (known, known.get("a")):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(value)


def test_inline_passwords_and_references_are_told_apart(tmp_path: Path) -> None:
    known = connections(
        tmp_path,
        "a: postgresql://u:hush@h/d\nb: postgresql://u:${env:PW}@h/d\nc: {url: postgresql://h/d, password: '${file:x}'}\nd: postgresql://h/d",
    )
    assert [known.get(name).inline_secret for name in "abcd"] == [True, False, False, False]
    assert [known.get(name).references for name in "abcd"] == [(), ("env",), ("file",), ()]


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: 12", 1, 4, "expected a URL or a mapping"),
        ("ok: x.db\nb:\n  urll: x", 3, 3, "did you mean 'url'?"),
        ("ok: x.db\nc: {url: postgresql://h/d, pasword: x}", 2, 4, "did you mean 'password'?"),
        ("ok: x.db\nok: y.db", 2, 1, "twice"),
        ("ok: x.db\n  bad: [", 2, 6, ""),
        ("- a\n- b", 1, 1, "expected names"),
        (
            "b: {url: postgresql://h/d, password: {env: CRM_PASSWORD}}",
            1,
            4,
            "expected text as 'password', got a mapping (secrets are written",
        ),
        ("b: {path: ./in, accessKey: [AKIA77]}", 1, 4, "expected text as 'accessKey', got a list"),
        ("b: " + "[" * 100_000, 1, 69, "expected at most 64 levels"),
    ],
)
def test_a_malformed_file_says_where(tmp_path: Path, text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(SpecError) as raised:
        every_connection(tmp_path, text)
    (problem,) = raised.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "connections.yaml"), line)
    assert problem.column == column
    assert says in str(raised.value)
    assert "CRM_PASSWORD" not in str(raised.value)
    assert "AKIA77" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no\.yaml") as raised:
        Connections(tmp_path / "no.yaml", {})
    assert raised.value.code == "spec-unreadable"


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:", "sqlite:///x.db?mode=ro", "just-a-word", "x.csv"])
def test_what_is_no_database_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError) as raised:
        connections(tmp_path, f"a: '{text}'").get("a").url  # noqa: B018
    assert raised.value.code == "connection-invalid"


def test_aliases_cannot_multiply_without_end(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(SpecError, match="aliases"):
        connections(tmp_path, "\n".join(levels))
