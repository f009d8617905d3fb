import pytest
import torch
from threadpoolctl import threadpool_limits

from wonderland.backend import network


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small matrices on threads that wait for one another take several times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def double():
    """Training in float64, in which identities hold to many more digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "DTYPE", torch.float64)
        _forget()
        yield
    _forget()


def _forget():
    network.lesson.cache_clear()
    network._trained.clear()
