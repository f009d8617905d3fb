"""A demo as the output of a cell."""

import asyncio
import threading

import panel as pn
import pytest
from pyviz_comms import Comm, JupyterComm

from wonderland.demos import notebook
from wonderland.demos.notebook import in_turn, opening, slimmed

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


def test_what_displays_say_in_threads_of_their_own_is_heard_in_turn_by_one() -> None:
    heard: list[tuple[int, int]] = []

    async def kernel() -> None:
        comm = JupyterComm(on_msg=lambda message: heard.append((threading.get_ident(), message["content"]["n"])))
        comm.decode = lambda message: message
        comm.send = lambda **_: None  # the acknowledgement
        in_turn(comm)
        comm._handle_msg({"content": {"n": 0}})
        for n in (1, 2, 3):
            thread = threading.Thread(target=comm._handle_msg, args=[{"content": {"n": n}}])
            thread.start()
            thread.join()
        assert len(heard) == 1  # the kernel is busy with this cell
        await asyncio.sleep(0.05)

    asyncio.run(kernel())
    assert heard == [(threading.get_ident(), n) for n in range(4)]
