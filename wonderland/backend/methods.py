"""The methods that race, by name: from everything trained to nothing, old images replayed or not."""

import math
from collections.abc import Mapping

import torch

from wonderland.backend.constraints import GPM, Core, Dense, Joint, ProjectedGradient, RandomCore
from wonderland.backend.method import Method, Option
from wonderland.backend.network import BATCH, WIDTHS
from wonderland.backend.stack import Batch
from wonderland.maths import counting


class Full(Method):
    """Train every weight and bias."""

    label = "full"

    def prepare(self) -> None:
        self.W = [self.train(W) for W in self.start.weights]
        self.b = [self.train(b) for b in self.start.biases]

    def weights(self) -> tuple[torch.Tensor, ...]:
        return tuple(self.W)

    def biases(self) -> tuple[torch.Tensor, ...]:
        return tuple(self.b)


class L2SP(Full):
    """Full fine-tuning, with half ``strength`` times ‖θ − θ₀‖² added to the loss (L2-SP, arXiv 1802.01483)."""

    label = "full, L2-SP"
    options = {"strength": Option(0.01, 0.0, 1e6, doc="it weighs the distance from the start")}

    def penalty(self) -> torch.Tensor:
        start = (*self.start.weights, *self.start.biases)
        squares = [(now - old).square().flatten(1).sum(dim=1) for now, old in zip(self.trained, start, strict=True)]
        return self.settings["strength"] / 2 * sum(squares)


class LoRA(Method):
    """W′ = W + BA with A r×n and B m×r, B zero at the start (LoRA, arXiv 2106.09685); no further scaling."""

    label = "LoRA"
    options = {"rank": Option(16, 1, 128, doc="no weight of the race has a rank above 128")}

    def prepare(self) -> None:
        generators = self.past.generators()
        self.factors = []
        for W in self.start.weights:
            m, n = W.shape[1:]
            rank = self.settings["rank"]
            drawn = [torch.empty(rank, n, dtype=torch.float64).uniform_(-1, 1, generator=each) for each in generators]
            A = torch.stack(drawn).to(W)
            # The bound of torch's own linear layers, which the paper's code takes too.
            self.factors.append((self.train(W.new_zeros(len(W), m, rank)), self.train(A / n**0.5)))

    def weights(self) -> tuple[torch.Tensor, ...]:
        return tuple(torch.baddbmm(W, B, A) for W, (B, A) in zip(self.start.weights, self.factors, strict=True))


class OFT(Method):
    """W′ = WR, R rotations of b inputs each, by the exact Cayley transform (OFT, arXiv 2306.07280).

    R = (I + Q)(I − Q)⁻¹ = 2(I − Q)⁻¹ − I, Q skew. The neurons, rows of W, turn together: their angles to each
    other, and so their hyperspherical energy, stay.
    """

    label = "OFT"
    options = {"block": Option(32, 2, 64, doc="the first layer has 64 inputs to rotate")}

    @staticmethod
    def used(block: int) -> int:
        """The block that is really used: as in peft, one that does not divide the inputs gives way to one that does."""
        return counting.oft_block(math.gcd(*WIDTHS[:-1]), block)

    def prepare(self) -> None:
        weights = self.start.weights
        self.block = self.used(self.settings["block"])
        # The parts of W that the blocks turn, S × n/b × m × b.
        self.parts = [W.unflatten(2, (-1, self.block)).transpose(1, 2).contiguous() for W in weights]
        self.counts = [parts.shape[1] for parts in self.parts]
        # Above the diagonal of every Q, for all layers together: S × blocks × b(b − 1)/2.
        self.row, self.column = torch.triu_indices(self.block, self.block, offset=1)
        self.entries = self.train(weights[0].new_zeros(len(weights[0]), sum(self.counts), len(self.row)))

    def weights(self) -> tuple[torch.Tensor, ...]:
        upper = self.entries.new_zeros(*self.entries.shape[:2], self.block, self.block)
        upper[..., self.row, self.column] = self.entries
        eye = torch.eye(self.block, dtype=upper.dtype)
        # inv_ex raises nothing: a network that diverges must not end the others.
        R = 2 * torch.linalg.inv_ex(eye - upper + upper.mT).inverse - eye
        turned = zip(self.parts, R.split(self.counts, dim=1), strict=True)
        return tuple((parts @ blocks).transpose(1, 2).flatten(2) for parts, blocks in turned)


class Replay(Full):
    """Full fine-tuning on the new images and as many old ones (experience replay, arXiv 1902.10486).

    ``buffer`` images of each old task are kept, drawn once; every step adds a batch of them.
    """

    label = "replay"
    options: Mapping[str, Option] = {"buffer": Option(100, 1, 10_000, doc="images kept of each old task")}

    def prepare(self) -> None:
        super().prepare()
        self.generators = self.past.generators()
        pools = [self._pool(generator) for generator in self.generators]
        self.x, self.y, self.closed = (torch.stack(parts) for parts in zip(*pools, strict=True))

    def batch(self, batch: Batch) -> Batch:
        """Add old images to the new ones."""
        size = self.y.shape[1]
        index = torch.stack([torch.randint(size, (BATCH,), generator=generator) for generator in self.generators])
        seats = torch.arange(len(index)).unsqueeze(1)
        new = self.closed.new_zeros(1, 10) if batch.closed is None else batch.closed
        return Batch(
            torch.cat([batch.x, self.x[seats, index]], dim=1),
            torch.cat([batch.y, self.y[seats, index]], dim=1),
            torch.cat([new.expand(*batch.y.shape, -1), self.closed[seats, index]], dim=1),
        )

    def _pool(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        parts = []
        for lesson in self.past.lessons:
            kept = torch.randperm(len(lesson.y), generator=generator)[: self.settings.get("buffer")]
            closed = lesson.x.new_zeros(1, 10) if lesson.closed is None else lesson.closed
            parts.append((lesson.x[kept], lesson.y[kept], closed.expand(len(kept), -1)))
        x, y, closed = (torch.cat(part) for part in zip(*parts, strict=True))
        return x, y, closed


class AllTasks(Replay):
    """Replay of every old image: all tasks learned jointly, the upper bound."""

    label = "joint training"
    options: Mapping[str, Option] = {}


METHODS: dict[str, type[Method]] = {
    "full": Full,
    "l2sp": L2SP,
    "lora": LoRA,
    "oft": OFT,
    "osft": Core,
    "osft-joint": Joint,
    "osft-dense": Dense,
    "osft-gradient": ProjectedGradient,
    "osft-random": RandomCore,
    "gpm": GPM,
    "replay": Replay,
    "joint": AllTasks,
    "frozen": Method,
}
"""A method enters the race under its name here; see :class:`~wonderland.backend.method.Method`."""
