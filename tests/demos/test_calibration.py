"""The record of real steps, and how it is told."""

import re
from html import unescape

import pytest

from tests.benchmarks.peak import CASES, CONFIGS, said
from wonderland.demos import calibration
from wonderland.demos.budget import Budget
from wonderland.demos.calibration import calibration_html, elsewhere, record, steps


def test_every_case_is_recorded():
    assert [(step.model, step.method, step.run) for step in steps()] == list(CASES)
    assert record()["models"] == CONFIGS
    assert [step.foretold for step in steps()] == [said(*case) for case in CASES]


def test_what_is_foretold_is_near_what_was_measured():
    assert max(abs(step.error) for step in steps()) < 0.08
    assert max(abs(step.error) for step in elsewhere()) < 0.08


def test_the_page_tells_the_worst_of_them():
    text = unescape(re.sub("<[^>]*>", "", calibration_html()))
    worst = max(steps(), key=lambda step: abs(step.error))
    assert f"{abs(worst.error):.1%} at most, {worst.model} by {worst.method} in {worst.run.dtype}" in text
    assert f"In {len(CASES)} runs" in text
    for step in elsewhere():
        assert f"{step.method} {step.error:+.0%}".replace("-", "−") in text
    demo = Budget()
    assert calibration_html() in demo.details(demo.result)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"models": 3}'])
def test_a_spoiled_record_is_said_and_the_demo_stands(content, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "memory.json").write_text(content)
    for each in (record, steps, calibration_html):
        each.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(calibration, "files", lambda _: tmp_path)
        demo = Budget()
        assert "memory.json holds no record of memory measured: " in demo.details(demo.result)
    for each in (record, steps, calibration_html):
        each.cache_clear()
    assert "memory.json" not in calibration_html()
