"""The form of a constrained layer whose parameter is the weight itself; see ``wonderland.backend.layers``."""

import weakref

import torch
from torch import nn
from torch.nn.functional import linear
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from wonderland.backend.constrained import Bases, Constrained, double, is_sharded, sharded_like, whole


class Dense(Constrained):
    """W′ itself is the parameter ``W``, and what an optimizer did to its protected part is undone.

    With A = U_hᵀW and B = WV_h of the start, W ← W − (WV_h − B)V_hᵀ − U_h(U_hᵀW − A) + U_h(U_hᵀWV_h − S)V_hᵀ,
    S = U_hᵀB: no drift, and no old weight is held. It costs 2mn(k_u + k_v) multiplications a step, however
    many vectors, and (m + n)(k_u + k_v) numbers beside W.

    This happens by itself before the weight is next used: by ``forward``, ``weight``, ``state_dict()``,
    merging, measuring. To read the raw parameter, or where it was moved through ``.data``, call
    :meth:`restore`.

    An optimizer that compares gradients and weights of several passes, as ``torch.optim.LBFGS`` does, has to be given
    the gradient of what is free: see :meth:`free_gradient`.
    """

    form = "dense"

    def _hold(self, W: torch.Tensor, bases: Bases) -> None:
        # In the type that the splitting works in: in a lower one, A and B would round more than W does.
        self.register_buffer("U_h", bases.U.contiguous())
        self.register_buffer("V_h", bases.V.contiguous())
        self.register_buffer("A", bases.U.mT @ W.to(bases.U.dtype))
        self.register_buffer("B", W.to(bases.V.dtype) @ bases.V)
        self.W = nn.Parameter(W.clone(memory_format=torch.contiguous_format))
        self._restored_at = self._now()
        self._sharded = False
        self._projected: nn.Parameter | None = None
        _watch(self)

    @torch.no_grad()
    def restore(self) -> None:
        """Undo every change of W in a protected direction.

        Of a sharded weight (FSDP2), too, one layer gathered at a time; every process has to call it.
        """
        W = self.W.detach()
        self._sharded = self._sharded or is_sharded(W)
        gathered = whole(W)
        with torch.autocast(gathered.device.type, enabled=False):
            U, V = self.U_h, self.V_h
            work = gathered.to(U.dtype)  # W itself unless its precision is low
            right = work @ V - self.B
            left = torch.addmm(self.A, U.mT, work, beta=-1)
            left = torch.addmm(left, U.mT @ right, V.mT, alpha=-1)  # what `right` already undoes
            # Both in one pass over W.
            work.addmm_(torch.cat([right, U], 1), torch.cat([V.mT, left]), alpha=-1)
        if work is not W:
            W.copy_(sharded_like(W, work.to(W.dtype)))
        self._restored_at = self._now()

    def free_gradient(self) -> None:
        """From now on give W the gradient of its free part alone, at the cost of another restoration a pass.

        ``torch.optim.LBFGS`` brings this about by itself.
        """
        if self._projected is not self.W:
            self.W.register_hook(self._free)
            self._projected = self.W

    def _free(self, gradient: torch.Tensor) -> torch.Tensor:
        with torch.autocast(gradient.device.type, enabled=False):
            free = gradient.to(self.U_h.dtype)
            free = free - self.U_h @ (self.U_h.mT @ free)
            return (free - (free @ self.V_h) @ self.V_h.mT).to(gradient.dtype)

    def _now(self) -> tuple[int, int]:
        # A copy of the parameter, or what replaces it, is another object.
        return id(self.W), self.W._version

    def _restored(self) -> nn.Parameter:
        # While it is gathered for a pass, a sharded weight is a copy; its shards were restored after the step.
        gathered = self._sharded and not is_sharded(self.W)
        if not gathered and self._restored_at != self._now():
            self.restore()
        return self.W

    def _matrix(self, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
        return whole(self._restored()).to(device, dtype)

    def _apply_weight(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self._restored(), self.bias)

    def __getstate__(self) -> dict[str, object]:
        self._restored()
        return self.__dict__ | {"_projected": None}  # a copy of the parameter has no hook

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        _watch(self)

    def _save_to_state_dict(self, *args: object, **kwargs: object) -> None:
        self._restored()
        super()._save_to_state_dict(*args, **kwargs)

    def bases(self) -> Bases:
        """The bases as given."""
        return Bases(double(self.U_h), double(self.V_h))

    def kept(self, bases: Bases) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B as kept."""
        return double(self.A), double(self.B)

    @torch.no_grad()
    def learn(self, W: torch.Tensor) -> None:
        """Take over the free block of W."""
        self.W.copy_(W)
        self.restore()


def _watch(layer: Dense) -> None:
    _dense.append(weakref.ref(layer, _dense.remove))


def _moved(optimizer: torch.optim.Optimizer) -> list[Dense]:
    """The dense layers whose weight an optimizer moves, as they were made: the same order in every process."""
    layers = [layer for reference in tuple(_dense) if (layer := reference()) is not None]
    parameters = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]} if layers else ()
    return [layer for layer in layers if id(layer.W) in parameters]


def _before_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
    if isinstance(optimizer, torch.optim.LBFGS):
        for layer in _moved(optimizer):
            layer.free_gradient()


def _after_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
    # A fused optimizer moves a parameter without counting its version up. Shards must be right before they are
    # gathered, and are restored at once.
    for layer in _moved(optimizer):
        layer._restored_at, layer._sharded = None, is_sharded(layer.W)
        if layer._sharded:
            layer.restore()


_dense: list[weakref.ref[Dense]] = []
register_optimizer_step_pre_hook(_before_step)
register_optimizer_step_post_hook(_after_step)
