"""What trains: torch lives here and nowhere else.

Importing this package alone is light; its modules import torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager


def warm(threads: int | None = 1) -> None:
    """Load torch and its optimizers ahead of the first training step.

    Both together take some seconds the first time, and nothing later. A page calls this in a background
    thread before anything else of torch, so that the first press of a button does not pay for it.

    Parameters
    ----------
    threads
        How many threads torch may use for one computation, in the whole process and from now on; None leaves
        torch's own choice. Matrices as small as these are no faster with more than one, and several times
        slower when other readers, too, have work for the cores.
    """
    import torch

    from wonderland.backend.step import LayerRun

    if threads is not None:
        torch.set_num_threads(threads)
    # The first optimizer of a process imports torch's compiler, used or not: a real step, thrown away, loads all.
    LayerRun().step()


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch compute in the present thread alone.

    Further threads would spin beside the server's own, and make small work tens of times slower.
    """
    import torch

    before = torch.get_num_threads()  # of this thread
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
