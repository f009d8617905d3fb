"""A race on a real Dask cluster: two worker processes on this machine."""

import os
import signal
import socket
import time
from functools import partial

import pytest
from distributed import LocalCluster

import wonderland
from tests.streams import counted, failing
from wonderland.backend import cluster as module
from wonderland.backend.cluster import Cluster
from wonderland.backend.points import race_points
from wonderland.backend.pool import Pool
from wonderland.backend.race import RaceSettings, race

PATIENCE = 120
SETTINGS = RaceSettings(methods=("full", "osft"), seeds=(0, 1), steps=60, every=5)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as made:
        yield made


@pytest.fixture
def pool(cluster):
    pool = Pool(Cluster(cluster.scheduler_address))
    yield pool
    pool._lanes.connected().close()


def until(ready, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def test_a_race_is_the_same_on_a_cluster(pool):
    job = pool.submit(partial(race_points, SETTINGS.as_table()))
    assert job.error() is None
    assert job.take() == list(race(SETTINGS))


def test_a_race_whose_worker_is_killed_is_completed(pool):
    job = pool.submit(partial(race_points, SETTINGS.as_table()))
    points = []
    until(lambda: points.extend(job.take()) or any(point.step for point in points))
    (worker,) = +pool._lanes._jobs
    pid = pool._lanes.connected().run(os.getpid)[worker]
    os.kill(pid, signal.SIGKILL)
    assert job.error() is None
    assert points + job.take() == list(race(SETTINGS))


def test_two_jobs_have_a_worker_each_and_the_third_waits(pool):
    jobs = [pool.submit(partial(counted, 200, 0.05)) for _ in range(3)]
    for job in jobs[:2]:
        until(job.take)
    assert jobs[2].place == 1
    assert sorted(pool._lanes._jobs.values()) == [1, 1]
    jobs[0].cancel()
    until(lambda: jobs[2].take())
    for job in jobs:
        job.cancel()
        assert job.error() is None


def test_an_error_comes_after_the_values_before_it(pool):
    job = pool.submit(partial(failing, 3))
    assert str(job.error()) == "lr = 9 diverges"
    assert job.take() == [0, 1, 2]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nowhere", "smoke://127.0.0.1:{port}"])
def test_a_scheduler_that_is_not_there_is_named(address, free_port):
    address = address.format(port=free_port)
    pool = Pool(Cluster(address))
    jobs = [pool.submit(partial(counted, 3)) for _ in range(3)]
    for job in jobs:
        assert f"WONDERLAND_SCHEDULER = {address} cannot be reached" in str(job.error())
        assert job.take() == []


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_what_answers_and_is_no_scheduler_is_named(scheme, monkeypatch):
    monkeypatch.setattr(module, "CONNECT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(ConnectionError, match=f"WONDERLAND_SCHEDULER = {address} cannot be reached"):
            Cluster(address).connected()
        assert time.monotonic() < begin + 30


def test_a_worker_with_another_version_is_named(pool, monkeypatch):
    monkeypatch.setattr(module, "__version__", "9.9.9")
    job = pool.submit(partial(counted, 3))
    assert f"with wonderland {wonderland.__version__} where 9.9.9 is here: install the same there" in str(job.error())
    assert job.take() == []
    assert not +pool._lanes._jobs
    monkeypatch.undo()
    again = pool.submit(partial(counted, 3))
    assert again.error() is None
    assert again.take() == [0, 1, 2]


def test_a_cluster_without_workers_says_so():
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as made:
        pool = Pool(Cluster(made.scheduler_address))
        assert "has no workers: start one there" in str(pool.submit(partial(counted, 3)).error())
        pool._lanes.connected().close()


def test_a_scheduler_that_ends_during_a_job_is_named():
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as made:
        pool = Pool(Cluster(made.scheduler_address))
        job = pool.submit(partial(counted, 1000, 0.05))
        got = []
        until(lambda: got.extend(job.take()) or len(got) > 3)
    assert f"The cluster at {made.scheduler_address}" in str(job.error())
    got += job.take()
    assert got == list(range(len(got)))
