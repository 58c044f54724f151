"""The page as text; what a browser makes of it, `test_browser` measures."""

from __future__ import annotations

import re
from typing import Any

import pytest

from beam_pipelines.quality.report import make
from beam_pipelines.quality.report.html import CHARACTERS, SHOWN, page, visible


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<b>&'\"", "&lt;b&gt;&amp;&#39;&#34;"),
        ("a\x00b", 'a<span class="unseen">U+0000</span>b'),
        ("\ud800", '<span class="unseen">U+D800</span>'),
        ("a\u202eb", 'a<span class="unseen">U+202E</span>b'),
        ("e\u0301", "e\u0301"),
        ("Z" + "\u0301" * 60, "Z\u0301\u0301\u0301\u0301" + '<span class="unseen">56 more marks</span>'),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        (None, "null"),
        (12.5, "12.5"),
        (True, "true"),
        ({"a": ["<"]}, "{&#34;a&#34;: [&#34;&lt;&#34;]}"),
    ],
)
def test_a_value_becomes_text_of_which_everything_can_be_seen(value: Any, shown: str) -> None:
    assert visible(value) == shown


def test_a_long_value_is_cut_and_says_so() -> None:
    shown = visible("x" * (CHARACTERS + 1200))
    assert shown == "x" * CHARACTERS + '<span class="more"> … 1,200 characters more</span>'
    assert visible("x" * CHARACTERS) == "x" * CHARACTERS


def test_a_page_has_no_script_no_style_of_an_element_and_leads_nowhere(samples: Any) -> None:
    for run in (samples.rich(), samples.hostile()):
        text = page(make(run, samples.rich_history()))
        assert text.encode("utf-8")
        tags = re.findall(r"<[a-zA-Z!/][^>]*>", text)
        assert not [tag for tag in tags if re.search(r"\s(on\w+|style|src|srcset|data|action|xlink:href)\s*=", tag)]
        assert {tag.split()[0].strip("<>/") for tag in tags} <= {
            *("!DOCTYPE", "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "h3", "p"),
            *("div", "span", "bdi", "dl", "dt", "dd", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "a"),
            *("svg", "path", "rect", "circle", "title"),
        }
        assert all(re.fullmatch(r"#r\d+-\d+", link) for link in re.findall(r'href="([^"]*)"', text))
        assert "url(" not in text.replace("{{", "")
        assert "@import" not in text


def test_what_is_not_known_is_left_out(samples: Any) -> None:
    text = page(make(samples.run(samples.rule("r"))))
    assert "Rules, the worst first" in text
    for heading in ("Examples</h2>", "Columns</h2>", "Pass rate over"):
        assert heading not in text
    full = page(make(samples.rich(), samples.rich_history()))
    for heading in ("Examples</h2>", "Columns</h2>", "Pass rate over the last 15 runs"):
        assert heading in full


def test_a_run_without_results_has_a_page_that_says_why(samples: Any) -> None:
    from dataclasses import replace

    text = page(make(replace(samples.run(samples.rule("r")), steps=(), status="failed", error="no table <x>")))
    assert "The run failed before its rules were judged: no table &lt;x&gt;" in text
    assert "Rules, the worst first" not in text


@pytest.mark.parametrize(
    ("violated", "known", "words"),
    [
        (1, 1, "the only one"),
        (5, 5, "all 5 examples"),
        (45, 3, "3 examples of 45 violations: the list is capped"),
        (2000, SHOWN + 80, f"{SHOWN} examples of 2,000 violations: the list is capped; the JSON report has more"),
    ],
)
def test_a_list_of_examples_says_whether_it_is_all(samples: Any, violated: int, known: int, words: str) -> None:
    run = samples.run(samples.rule("r", violated), examples=[samples.example("r", "x") for _ in range(known)])
    text = page(make(run))
    assert f">{words}<" in text
    assert text.count('class="offending mono"') == min(known, SHOWN)


def test_a_step_of_several_has_a_heading(samples: Any) -> None:
    from dataclasses import replace

    run = samples.run(samples.rule("r"))
    extract, transform, load = run.steps
    text = page(make(replace(run, steps=(extract, replace(transform, table="people"), replace(transform, table="orders"), load))))
    assert re.findall(r"<h2[^>]*><bdi>(.*?)</bdi></h2>", text) == ["rules, people", "rules, orders"]
    assert len(set(re.findall(r'id="([^"]*)"', text))) == len(re.findall(r'id="([^"]*)"', text))
