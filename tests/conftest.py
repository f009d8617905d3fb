"""What several test files share: a server started as a reader starts it, and surely ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
STOP_SECONDS = 15


# Of the files that drive a browser, those whose tests share more than the server: a notebook, the whole book.
WHOLE = ("tests/ui/test_jupyter.py", "tests/ui/test_snapshot.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What drives a browser comes last: first the files that two processes share whole, then the others."""
    items.sort(key=lambda item: _in_a_browser(item.nodeid) + (_unit(item.nodeid) == item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where two processes share the tests (`pytest -n 2 --dist loadgroup`), keep a file's together, in our order.

    What shares only a server is given out test by test, so that neither process waits long for the other's last. The
    mark of a group would not do: with pytest 9.2 it no longer reaches xdist (3.8).
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    config.option.loadscopereorder = False  # it would put what has most tests first
    return Units(config, log)


def _in_a_browser(nodeid: str) -> bool:
    return nodeid.startswith("tests/ui/")


def _unit(nodeid: str) -> str:
    """What is given to a process at once: a file, or a test alone."""
    path = nodeid.partition("::")[0]
    return nodeid if _in_a_browser(path) and path not in WHOLE else path


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.fixture
def answer_of(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start a command from the project's root and return the page at `url`; end it after the test."""
    started = []

    def start(command: list[str] | str, url: str, **environment: str) -> str:
        log = tmp_path / f"server{len(started)}.log"
        bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with log.open("w") as out:
            server = subprocess.Popen(
                command,
                shell=isinstance(command, str),
                cwd=ROOT,
                env=os.environ | {"PATH": bin_first} | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it starts can be ended with it
            )
        started.append(server)
        problem = "it ended at once"
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up and server.poll() is None:
            try:
                return fetch(url)
            except HTTPError as error:  # it listens, and refuses: no use waiting
                error.close()
                problem = error
                break
            except OSError as error:
                problem = error
                time.sleep(0.2)
        pytest.fail(f"{command} did not answer at {url}: {problem}\n{log.read_text()}")

    yield start
    for server in started:
        _end(server)


def fetch(url: str) -> str:
    """Text of the page at `url`, which must answer 200."""
    with urlopen(url, timeout=START_SECONDS) as answer:
        return answer.read().decode()


def _end(server: subprocess.Popen) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
