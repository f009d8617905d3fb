"""Demos in JupyterLab: a real server, a real kernel, and the cells of one notebook."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Browser
from scipy.spatial.distance import pdist

from tests.conftest import ROOT
from tests.ui.conftest import await_answer
from tests.ui.reader import Reader
from wonderland.demos.rotation import LIMIT, cloud
from wonderland.theme import DARK, LIGHT

CELLS = [
    "import panel as pn\nfrom wonderland import RotationDemo, TrainingSim\npn.extension(inline=True)",
    "one = RotationDemo(angle=60)\none",
    "RotationDemo()",
    "one",
    'race = TrainingSim(course="upright,rotated", methods="full,osft", seeds=1, steps=20)\nrace',
    "race.start()",
]
ANGLE = "Angle in degrees"
_READY = """async () => {
  const { context } = jupyterapp.shell.currentWidget
  await context.sessionContext.ready
  await context.sessionContext.session.kernel.info
}"""
_COLUMNS = """([mark, column]) => {
  const found = []
  for (const doc of Bokeh.documents) for (const model of doc._all_models.values())
    if (model.name === mark && model.type === 'ColumnDataSource')
      found.push(Array.from(model.data.get ? model.data.get(column) : model.data[column]))
  return found
}"""


class Notebook(Reader):
    """A notebook open in JupyterLab, where a demo can be on screen several times."""

    def columns(self, mark: str, name: str) -> list[np.ndarray]:
        """One column of a mark in each display that has it, from the top down."""
        return [np.array(column) for column in self.page.evaluate(_COLUMNS, [mark, name])]

    def choose(self, label: str, option: str) -> None:
        """Choose an option of the uppermost such select by mouse."""
        self.page.get_by_role("combobox", name=label).first.click()
        self.page.get_by_role("option", name=option, exact=True).first.click()

    def angles(self) -> list[int]:
        """Where the sliders on screen stand, from the top down."""
        sliders = self.slider(ANGLE)
        return [int(sliders.nth(i).input_value()) for i in range(sliders.count())]

    def expect_angles(self, *angles: int) -> None:
        """Wait until sliders and pictures of the three displays stand at these angles."""
        hands = LIMIT * np.cos(np.deg2rad(angles))

        def there() -> bool:
            drawn = [column[0] for column in self.columns("hand", "x1")]
            return self.angles() == list(angles) and np.allclose(drawn, hands, atol=1e-9)

        self.wait_for(there, lambda: f"angles {angles}, now {self.angles()}", timeout=30)


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a Jupyter server, and the folder it shows."""
    folder = tmp_path_factory.mktemp("jupyter")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {f"JUPYTER_{kind}_DIR": str(folder / f".{kind}") for kind in ("CONFIG", "DATA", "RUNTIME")}
    options = {
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": "",
        "ServerApp.password": "",
        "LabApp.expose_app_in_browser": True,
        "LabApp.check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    with (folder / "log").open("w") as out:
        server = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env=os.environ | places | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        try:
            await_answer(f"{address}/api", server)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{(folder / 'log').read_text()}") from None
        yield address, folder
    finally:
        server.terminate()  # its kernels go with it
        server.wait(20)


@pytest.fixture(scope="module")
def notebook(browser: Browser, jupyter: tuple[str, Path]) -> Iterator[Notebook]:
    """The notebook of this file, open, with every cell run."""
    address, folder = jupyter
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, folder / "alice.ipynb")
    reader = Notebook(browser, address)
    reader.page.goto(f"{address}/lab/tree/alice.ipynb")
    reader.page.locator(".jp-Notebook").wait_for()
    reader.page.evaluate(_READY)
    speed = reader.context.new_cdp_session(reader.page)
    speed.send("Emulation.setCPUThrottlingRate", {"rate": 4})  # the race is over before its display is drawn
    reader.page.get_by_role("menuitem", name="Run", exact=True).click()
    reader.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    prompts = reader.page.locator(".jp-InputPrompt")
    reader.wait_for(
        lambda: [f"[{i + 1}]:" for i in range(len(CELLS))] == prompts.all_inner_texts(), "every cell", timeout=120
    )
    speed.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    yield reader
    reader.close()


def test_a_control_moves_its_own_demo_wherever_that_is_displayed(notebook: Notebook) -> None:
    notebook.expect_angles(60, 45, 60)
    notebook.slider(ANGLE).nth(0).focus()
    for _ in range(3):
        notebook.page.keyboard.press("ArrowRight")
    notebook.expect_angles(63, 45, 63)
    notebook.slider(ANGLE).nth(2).focus()
    notebook.page.keyboard.press("ArrowLeft")
    notebook.expect_angles(62, 45, 62)
    notebook.slider(ANGLE).nth(1).focus()
    notebook.page.keyboard.press("ArrowLeft")
    notebook.expect_angles(62, 44, 62)


def test_a_value_that_one_display_was_told_can_be_chosen_in_it_again(notebook: Notebook) -> None:
    angle, resting = notebook.angles()[:2]
    notebook.slider(ANGLE).nth(0).focus()
    for told in (angle + 1, angle + 2):
        notebook.page.keyboard.press("ArrowRight")
        notebook.expect_angles(told, resting, told)
    notebook.slider(ANGLE).nth(2).focus()
    notebook.page.keyboard.press("ArrowLeft")
    notebook.expect_angles(angle + 1, resting, angle + 1)


def test_quick_keys_in_one_display_and_the_other_lose_nothing(notebook: Notebook) -> None:
    """What one display was told must not come back from it: it would undo what the reader did meanwhile."""
    angle, resting = notebook.angles()[:2]
    speed = notebook.context.new_cdp_session(notebook.page)
    for rate, display, key, gap in [(2, 0, "Right", 30), (4, 2, "Left", 100), (4, 0, "Right", 0), (1, 2, "Right", 60)]:
        speed.send("Emulation.setCPUThrottlingRate", {"rate": rate})
        notebook.slider(ANGLE).nth(display).focus()
        for _ in range(4):
            notebook.page.keyboard.press(f"Arrow{key}")
            notebook.page.wait_for_timeout(gap)
        angle += 4 if key == "Right" else -4
        notebook.expect_angles(angle, resting, angle)
        notebook.page.wait_for_timeout(500)  # and there it stays
        notebook.expect_angles(angle, resting, angle)
    speed.send("Emulation.setCPUThrottlingRate", {"rate": 1})


def test_readouts_follow_in_both_displays(notebook: Notebook) -> None:
    notebook.choose("Map", "shear")
    kept, sheared = (f"{pdist(cloud() @ np.array(A))[0]:.6f}" for A in (np.eye(2), [[1, 0], [0.5, 1]]))
    after = notebook.page.locator(".readouts div", has_text="dashed pair, after").locator("dd")
    notebook.wait_for(lambda: after.all_inner_texts()[:3] == [sheared, kept, sheared], "the readouts", timeout=30)


def test_what_a_worker_computes_comes_on_screen(notebook: Notebook) -> None:
    """The race has begun in a cell; its points come while no cell runs."""

    def reached() -> list[float]:
        ends = notebook.columns("kept names", "x")  # a little behind the last step that each curve has reached
        return [int(column.min(initial=999)) for column in ends]

    notebook.wait_for(lambda: reached() == [20], lambda: f"the race to step 20, now {reached()}", timeout=60)


def test_demos_take_the_theme_of_the_notebook(notebook: Notebook) -> None:
    cards = notebook.page.locator(".demo")

    def inks() -> set[str]:
        found = "cards => cards.map(card => getComputedStyle(card).getPropertyValue('--w-text').trim())"
        return set(cards.evaluate_all(found))

    notebook.wait_for(lambda: inks() == {LIGHT.text}, "the light palette", timeout=30)
    change = "() => { jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' }) }"
    notebook.page.evaluate(change)
    notebook.wait_for(lambda: inks() == {DARK.text}, "the dark palette", timeout=60)
