"""A demo as the output of a cell."""

import panel as pn
import pytest
from pyviz_comms import Comm

from wonderland.demos import notebook
from wonderland.demos.notebook import opening, slimmed

PROGRAM = '"' + r"say(\"curiouser\")" * 100_000 + '"'


def test_the_widgets_program_is_written_once() -> None:
    html = f'<script>(function(root) {{\n  var docs_json = {{"a": {PROGRAM}, "b": {{"c": {PROGRAM}}}}};\n}})</script>'
    slim = slimmed(html)
    assert slim.count(PROGRAM) == 1
    assert f"const program = {PROGRAM};" in slim
    assert 'docs_json = {"a": program, "b": {"c": program}};' in slim


def test_an_output_without_it_is_left_alone() -> None:
    assert slimmed('<script>(function(root) { "short" })</script>') == '<script>(function(root) { "short" })</script>'


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Comm:
    """The comm of the one display there is; it opens when the browser answers."""
    comm = Comm()
    monkeypatch.setattr(pn.state, "_views", {"a display": (None, None, None, comm)})
    monkeypatch.setattr(notebook, "_missed", {})
    return comm


def test_a_display_is_waited_for_until_it_opens(display: Comm) -> None:
    assert opening()
    display._comm = object()
    assert not opening()


def test_a_display_that_never_opens_is_given_up(display: Comm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opening()
    monkeypatch.setattr(notebook, "PATIENCE", 0)
    assert not opening()
