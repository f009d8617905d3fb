"""A cut-off on a matrix that another control chooses."""

from typing import ClassVar

import param

from wonderland.demos.base import Demo


class CutOff(Demo):
    """A demo whose parameter `k` cuts the singular values of a matrix of changing shape."""

    chooser: ClassVar[str]
    """The parameter that chooses the matrix."""
    lowest: ClassVar[int] = 0
    """The smallest cut-off."""

    def largest(self) -> int:
        """How many singular values the present matrix has."""
        raise NotImplementedError

    def _on_controls(self, *events: param.parameterized.Event) -> None:
        moved, largest = {event.name for event in events}, self.largest()
        if moved == {self.chooser} and self.k > largest:
            self.k = largest  # moved together, as by an address, a cut-off beyond the matrix is an error to report
        if self.chooser in moved or not events:
            self.param.k.softbounds = (self.lowest, largest)
        super()._on_controls(*events)
