import asyncio
import os
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

from tests.streams import where
from wonderland import backend
from wonderland.demos import jobs
from wonderland.demos.jobs import WORKERS, Worker, beside

PATIENCE = 60  # seconds; torch may have to be loaded first


class Log:
    """Remembers what a worker reports."""

    def __init__(self):
        self.batches, self.ends, self.places = [], [], []
        self.worker = Worker(self.batches.append, self.ends.append, self.places.append)

    @property
    def news(self):
        return [item for batch in self.batches for item in batch]


async def until(ready):
    for _ in range(PATIENCE * 100):
        if ready():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


def test_a_script_waits_for_its_job():
    log = Log()
    log.worker.start(lambda: range(5))
    assert log.news == [0, 1, 2, 3, 4]
    assert log.ends == [None]
    assert not log.worker.busy
    assert jobs.ready()


def test_an_error_is_handed_on_after_the_news():
    def stream():
        yield 1
        raise ValueError("lr = 9 diverges")

    log = Log()
    log.worker.start(stream)
    assert log.news == [1]
    assert str(log.ends[0]) == "lr = 9 diverges"


def test_a_loop_goes_on_while_the_job_works():
    gate = threading.Event()

    def stream():
        yield "first"
        gate.wait(PATIENCE)
        yield "second"

    async def session(log):
        log.worker.start(stream)
        assert log.news == []
        assert log.worker.busy
        await until(lambda: log.news == ["first"])
        assert log.ends == []
        gate.set()
        await until(lambda: log.ends)

    log = Log()
    asyncio.run(session(log))
    assert log.batches == [["first"], ["second"]]
    assert log.ends == [None]


def test_what_is_cancelled_is_not_heard_of_again():
    gate, closed = threading.Event(), threading.Event()

    def stream():
        try:
            yield "first"
            gate.wait(PATIENCE)
            yield "too late"
            yield "much too late"
        finally:
            closed.set()

    async def session(log):
        log.worker.start(stream)
        await until(lambda: log.news)
        log.worker.cancel()
        assert not log.worker.busy
        gate.set()
        assert await asyncio.to_thread(closed.wait, PATIENCE)
        await asyncio.sleep(3 * jobs.PERIOD / 1000)

    log = Log()
    asyncio.run(session(log))
    assert log.news == ["first"]
    assert log.ends == []


def test_a_second_job_takes_the_place_of_the_first():
    gate = threading.Event()

    def slow():
        yield "old"
        gate.wait(PATIENCE)
        yield "old"

    async def session(log):
        log.worker.start(slow)
        log.worker.start(lambda: ["new"])
        gate.set()
        await until(lambda: log.ends)
        await asyncio.sleep(3 * jobs.PERIOD / 1000)

    log = Log()
    asyncio.run(session(log))
    assert log.news == ["new"]
    assert log.ends == [None]


def test_readers_share_a_bounded_pool():
    gate, started = threading.Event(), []

    def stream():
        started.append(threading.current_thread())
        gate.wait(PATIENCE)
        yield None

    running = [beside().submit(stream) for _ in range(WORKERS + 3)]

    async def all_there():
        await until(lambda: len(started) == WORKERS)

    asyncio.run(all_there())
    running[-1].cancel()  # still in line: it never starts
    gate.set()
    assert [job.error() for job in running] == [None] * len(running)
    assert len(started) == WORKERS + 2
    assert len({thread.name for thread in started}) <= WORKERS


def test_who_waits_is_told_of_every_place_in_line():
    gates = [threading.Event() for _ in range(WORKERS + 2)]

    def stream(gate):
        yield "begun"
        gate.wait(PATIENCE)

    async def session(logs):
        for log, gate in zip(logs, gates, strict=True):
            log.worker.start(partial(stream, gate))
        await until(lambda: all(log.news for log in logs[:WORKERS]))
        assert [log.worker.place for log in logs] == [0] * WORKERS + [1, 2]
        gates[0].set()
        await until(lambda: logs[-2].news and logs[-1].worker.place == 1)
        assert logs[-2].worker.place == 0
        for gate in gates:
            gate.set()
        await until(lambda: all(log.ends for log in logs))

    logs = [Log() for _ in gates]
    asyncio.run(session(logs))
    assert [log.places for log in logs] == [[]] * WORKERS + [[1, 0], [2, 1, 0]]


def test_a_job_afar_computes_in_another_process():
    async def session(log):
        log.worker.start(where, afar=True)
        await until(lambda: log.ends)

    log = Log()
    asyncio.run(session(log))
    assert log.ends == [None]
    assert log.news[0] != os.getpid()


def test_a_scheduler_that_is_not_there_is_named_and_the_page_lives_on(monkeypatch, free_port):
    address = f"tcp://127.0.0.1:{free_port}"
    monkeypatch.setenv("WONDERLAND_SCHEDULER", address)
    jobs.away.cache_clear()
    alive = []

    async def session(log):
        log.worker.start(where, afar=True)
        while not log.ends:
            alive.append(time.monotonic())
            await asyncio.sleep(0.01)
        log.worker.start(lambda: ["here, all the same"])
        await until(lambda: len(log.ends) == 2)

    log = Log()
    try:
        asyncio.run(session(log))
    finally:
        jobs.away.cache_clear()
    assert f"WONDERLAND_SCHEDULER = {address} cannot be reached" in str(log.ends[0])
    assert log.ends[1] is None
    assert log.news == ["here, all the same"]
    assert max(np.diff(alive)) < 2  # seconds: the loop was never held up for the scheduler's five


def test_torch_keeps_to_one_core_and_gives_it_back():
    before = torch.get_num_threads()
    log = Log()
    log.worker.start(lambda: iter([torch.get_num_threads()]))
    with backend.one_core():
        assert torch.get_num_threads() == 1
    assert log.news == [1]
    assert torch.get_num_threads() == before


def test_one_core_is_given_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="diverged"), backend.one_core():
        raise ValueError("diverged")
    assert torch.get_num_threads() == before


def test_nobody_is_served_in_a_test():
    assert not jobs.served()
    assert not jobs.returns()
