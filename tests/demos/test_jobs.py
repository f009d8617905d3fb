import asyncio
import threading

import pytest
import torch

from wonderland import backend
from wonderland.demos import jobs
from wonderland.demos.jobs import WORKERS, Job, Worker, _pool

PATIENCE = 60  # seconds; torch may have to be loaded first


class Log:
    """Remembers what a worker reports."""

    def __init__(self):
        self.batches, self.ends = [], []
        self.worker = Worker(self.batches.append, self.ends.append)

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

    running = [Job(stream, _pool()) for _ in range(WORKERS + 3)]

    async def all_there():
        await until(lambda: len(started) == WORKERS)

    asyncio.run(all_there())
    running[-1].cancel()  # still in line: it never starts
    gate.set()
    assert [job.error() for job in running] == [None] * len(running)
    assert len(started) == WORKERS + 2
    assert len({thread.name for thread in started}) <= WORKERS


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
