"""A server of the real app, and readers in Debian's chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.ui.reader import Reader

APP = Path(__file__).parents[2] / "wonderland" / "app.py"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("ui")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs the app as the README says."""
    log = tmp_path_factory.mktemp("server") / "log"  # a pipe that nobody empties would stop the server
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", str(APP), "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    address = f"http://localhost:{port}"
    try:
        try:
            await_answer(f"{address}/app", process)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{log.read_text()}") from None
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, headless."""
    path = shutil.which("chromium")
    if path is None:
        message = "no chromium on this machine: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_reader(browser: Browser, server: str) -> Iterator[Callable[..., Reader]]:
    """Make readers, each in a context of its own; every one must leave without an error behind."""
    readers: list[Reader] = []

    def make(width: int = 1400, height: int = 1000) -> Reader:
        readers.append(Reader(browser, server, width, height))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture
def reader(new_reader: Callable[..., Reader]) -> Reader:
    """One reader at 1400 × 1000."""
    return new_reader()


def await_answer(address: str, process: subprocess.Popen, timeout: float = 60.0) -> None:
    """Wait until the server answers 200 at that address."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError("the server ended at once")
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"{address} did not answer within {timeout:g} s")
