"""The pool: in line, at work, cancelled, broken down; in processes as in threads."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from tests.streams import counted, dying, failing, hearing, where
from wonderland.__main__ import main
from wonderland.backend.lanes import NICENESS, Processes, Threads
from wonderland.backend.points import race_points
from wonderland.backend.pool import Pool, load
from wonderland.backend.race import RaceSettings, race

PATIENCE = 120  # seconds; the machine may be busy, and a process has torch to load
SETTINGS = RaceSettings(methods=("full", "osft"), seeds=(0, 1), steps=40, every=5)
ROOT = Path(__file__).parents[2]
# A page's process, as far as the pool knows: it must stay without torch.
PAGE = """
import os, sys, time
from functools import partial
from tests.streams import counted, silent, where
from wonderland.backend.lanes import Processes
from wonderland.backend.points import race_points
from wonderland.backend.pool import Pool
"""


@pytest.fixture(scope="module")
def processes():
    return Pool(Processes(1))


def until(ready, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def result(job):
    assert job.error() is None
    return job.take()


def page(code):
    return subprocess.Popen(
        [sys.executable, "-c", PAGE + code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_race_is_the_same_live_at_once_and_on_the_command_line(processes, tmp_path):
    live = result(processes.submit(partial(race_points, SETTINGS.as_table(), 2)))
    assert live == list(race(SETTINGS))
    out = tmp_path / "race.json"
    flags = ["--methods", "full", "osft", "--seeds", "0", "1", "--steps", "40", "--every", "5"]
    main(["race", *flags, "--workers", "2", "--json", str(out)])
    rows = json.loads(out.read_text())["points"]
    assert [{name: tuple(v) if isinstance(v, list) else v for name, v in row.items()} for row in rows] == [
        asdict(point) for point in live
    ]


def test_its_points_need_no_torch():
    table = RaceSettings(methods=("full",), steps=2).as_table()
    code = f"job = Pool(Processes(1)).submit(partial(race_points, {table!r}))\n"
    code += "print(job.error(), len(job.take()), 'torch' in sys.modules)"
    out, err = page(code).communicate(timeout=PATIENCE)
    assert (out, err) == ("None 3 False\n", "")


def test_the_process_stands_back_and_leaves_ctrl_c_alone(processes):
    pid, nice, ignores = result(processes.submit(where))
    assert pid != os.getpid()
    assert nice == os.nice(0) + NICENESS
    assert ignores
    assert result(processes.submit(where))[0] == pid  # the next job finds it loaded


def test_values_come_while_the_rest_is_computed(processes):
    job = processes.submit(partial(counted, 100, 0.1))
    until(lambda: job.take() == [0])
    assert not job.done
    until(job.take)
    job.cancel()
    assert job.error() is None
    assert len(job.take()) < 90
    assert result(processes.submit(partial(counted, 3))) == [0, 1, 2]


@pytest.mark.parametrize("lanes", [Threads(1), Processes(1)], ids=["threads", "processes"])
def test_an_error_comes_after_the_values_before_it(lanes):
    job = Pool(lanes).submit(partial(failing, 3))
    error = job.error()
    assert (type(error), str(error)) == (ValueError, "lr = 9 diverges")
    assert job.take() == [0, 1, 2]


def test_who_waits_sees_the_line_move():
    gates = [threading.Event() for _ in range(4)]

    def stream(gate):
        yield "begun"
        gate.wait(PATIENCE)

    pool = Pool(Threads(1))
    jobs = [pool.submit(partial(stream, gate)) for gate in gates]
    until(jobs[0].take)
    assert [job.place for job in jobs] == [0, 1, 2, 3]
    jobs[1].cancel()
    assert jobs[1].done
    assert [job.place for job in jobs] == [0, 0, 1, 2]
    gates[0].set()
    until(jobs[2].take)
    assert [job.place for job in jobs] == [0, 0, 0, 1]
    gates[2].set()
    gates[3].set()
    assert [job.error() for job in jobs] == [None] * 4
    assert jobs[1].take() == []
    assert jobs[3].take() == ["begun"]


def test_a_race_whose_process_is_killed_is_completed(processes):
    pid, *_ = result(processes.submit(where))
    job = processes.submit(partial(race_points, SETTINGS.as_table()))
    points = []
    until(lambda: points.extend(job.take()) or any(point.step for point in points))
    os.kill(pid, signal.SIGKILL)
    assert job.error() is None
    assert points + job.take() == list(race(SETTINGS))
    assert result(processes.submit(where))[0] != pid


def test_a_stream_that_kills_its_processes_is_given_up_in_words(processes, tmp_path):
    job = processes.submit(partial(dying, 10, 9, tmp_path))
    error, taken = job.error(), job.take()
    assert str(error) == (
        "The process that trained broke down 3 times, most likely for want of memory. "
        f"What had come until then is kept, {len(taken)} values; the rest is lost."
    )
    assert taken == list(range(len(taken)))
    assert 1 <= len(taken) <= 6
    assert result(processes.submit(partial(counted, 2))) == [0, 1]


def test_prepared_processes_have_loaded_what_a_race_needs():
    pool = Pool(Processes(1))
    pool.prepare(partial(race_points, RaceSettings(steps=1).as_table()))
    until(lambda: pool._lanes._idle)
    (executor,) = pool._lanes._idle
    start = time.perf_counter()
    job = pool.submit(partial(race_points, RaceSettings().as_table()))
    until(lambda: any(point.task for point in job.take()))
    seconds = time.perf_counter() - start
    job.cancel()
    assert pool._lanes._idle in ([], [executor])
    print(f"Run → the first point of the new task: {seconds:.2f} s")


def test_what_is_prepared_later_is_there_in_the_next_process():
    pool = Pool(Processes(2))
    pool.prepare(partial(hearing, "first"))
    until(lambda: len(pool._lanes._idle) == 2)
    pool._lanes.prepare(load, partial(hearing, "second"))  # at once, not in a thread: the next is the last of the two
    until(lambda: {"first", "second"} <= set(result(pool.submit(partial(hearing, "third")))[0]))


def test_ctrl_c_ends_the_processes_too():
    code = """
job = Pool(Processes(1)).submit(partial(counted, 1000, 0.1))
while not job.take(): time.sleep(0.01)
try:
    print(os.getpid(), flush=True)
    job.error()
except KeyboardInterrupt: print("ended", flush=True)
"""
    server = page(code)
    assert server.stdout.readline().strip() == str(server.pid)
    os.killpg(server.pid, signal.SIGINT)
    out, err = server.communicate(timeout=PATIENCE)
    assert (out, err, server.returncode) == ("ended\n", "", 0)
    until(lambda: not members(server.pid))


def test_a_program_ends_at_once_though_its_processes_are_busy():
    code = """
pool = Pool(Processes(2))
pool.prepare(silent)
jobs = [pool.submit(silent) for _ in range(3)]
while pool._lanes._begun < 2: time.sleep(0.01)
time.sleep(3)
print("over", flush=True)
"""
    server = page(code)
    assert server.stdout.readline() == "over\n"
    start = time.monotonic()
    assert server.communicate(timeout=PATIENCE) == ("", "")
    assert time.monotonic() - start < 30  # where the streams have ten minutes to go
    until(lambda: not members(server.pid))


def test_no_process_outlives_a_server_that_is_killed():
    code = """
job = Pool(Processes(1)).submit(partial(counted, 1000, 0.1))
while not job.take(): time.sleep(0.01)
print("at work", flush=True)
job.error()
"""
    server = page(code)
    assert server.stdout.readline() == "at work\n"
    assert len(members(server.pid)) > 1
    os.kill(server.pid, signal.SIGKILL)
    server.communicate(timeout=PATIENCE)
    until(lambda: not members(server.pid))


def members(group):
    """The living processes of a process group."""
    found = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in found.splitlines()]
    return [int(pid) for pid, own, state in rows if int(own) == group and not state.startswith("Z")]
