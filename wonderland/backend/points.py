"""The points of a race. No torch here: a page reads what another process, or another machine, has computed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RacePoint:
    """Where one network of one method stands after so many steps.

    What is measured of the weights W is measured layer by layer, against those at the start of the task that
    is being learned, ΔW = W − W₀; biases are not counted.

    Parameters
    ----------
    method, seed
        Whose point it is: an entrant's name, and its network.
    task
        Which task of the course is being learned, counted from 0. 0 stands for the network before it has
        learned anything, once, at step 0; 1 at step 0 for the one that has learned the first task.
    step
        Steps taken on that task.
    accuracy
        On the images of each task of the course, 0 to 1.
    loss
        Mean cross-entropy on the images of the task being learned, in nats.
    leak
        ‖ΔW V_h‖ (Frobenius), V_h the ``keep`` leading right singular directions of W₀: change of the outputs
        for these inputs.
    drift
        ‖ΔW‖ (Frobenius).
    shift
        Root mean square of ‖ΔW x‖ over the inputs x that the layer had from the old tasks: what they feel of
        the change.
    energy
        Hyperspherical energy of the neurons, rows of W, divided by that of W₀'s.
    diverged
        True for the last point of a curve whose loss is NaN or above 10⁶ nats; all its measures are NaN.
    """

    method: str
    seed: int
    task: int
    step: int
    accuracy: tuple[float, ...]
    loss: float
    leak: tuple[float, ...]
    drift: tuple[float, ...]
    shift: tuple[float, ...]
    energy: tuple[float, ...]
    diverged: bool = False


def race_points(table: Mapping[str, object], workers: int = 1) -> Iterator[RacePoint]:
    """Run a race whose settings are a table, as :func:`wonderland.backend.settings.from_table` reads it.

    With its arguments bound it is a stream for :class:`wonderland.backend.pool.Pool`, to be sent anywhere; torch is
    loaded there. See :func:`wonderland.backend.race.race` for the rest.
    """
    from wonderland.backend.race import from_table, race

    return race(from_table(table), workers)
