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
def server() -> Iterator[str]:
    """The address of a server that runs the app as the README says."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "panel", "serve", str(APP), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    address = f"http://localhost:{port}"
    try:
        _await(f"{address}/app", process)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=10)


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


def _await(address: str, process: subprocess.Popen, timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {process.stdout.read().decode()}")
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"{address} did not answer within {timeout:g} s")
