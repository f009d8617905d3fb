"""What the forms of a constrained layer share; the forms themselves are in ``wonderland.backend.layers``."""

from typing import NamedTuple

import torch
from torch import nn

from wonderland.backend.plain import StandIn, is_conv1d, weight_matrix, without_numbers, working


class Bases(NamedTuple):
    """Protected directions as orthonormal columns: U (m×k_u, of the outputs) and V (n×k_v, of the inputs)."""

    U: torch.Tensor
    V: torch.Tensor


class Constrained(StandIn):
    """A layer that acts with W′, of which the free block alone is trained; see the three forms below.

    Parameters
    ----------
    plain
        The ``nn.Linear``, ``nn.Conv2d`` or transformers' ``Conv1D`` to stand in for; its weight is copied.
    bases
        What to protect, on the weight's device.
    train_bias
        Whether the bias is trained; else it is a buffer, which thawing the model does not thaw.

    Attributes
    ----------
    k_u, k_v : int
        Numbers of protected outputs and inputs.
    bias : torch.Tensor or None
        Of m numbers.
    base : str
        Checksum of the plain layer's weight, for saving; empty where nobody has set it.
    basis : str
        "weight" where the bases are singular vectors of the weight, else "given".
    form : str
        Name of the form.

    Raises
    ------
    RuntimeError
        Under ``torch.inference_mode()``: what is made there can never be trained.
    """

    form: str

    def __init__(self, plain: nn.Module, bases: Bases, train_bias: bool = False):
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                "a layer made under torch.inference_mode() can never be trained: constrain outside of it."
            )
        super().__init__()
        W = weight_matrix(plain).detach()
        self.base, self.basis = "", "given"
        self.m, self.n = W.shape
        self.k_u, self.k_v = bases.U.shape[1], bases.V.shape[1]
        # The plain layer without its numbers: it knows how to be built again, and how a convolution is done.
        # Kept out of the submodules, so that it shows nowhere.
        self.__dict__["_shell"] = without_numbers(plain)
        self._shape = plain.weight.shape
        bias = None if plain.bias is None else plain.bias.detach().clone()
        if train_bias and bias is not None:
            self.bias = nn.Parameter(bias)
        else:
            self.register_buffer("bias", bias)
        with torch.autocast(W.device.type, enabled=False):
            self._hold(W, Bases(*(basis.to(working(W.dtype)) for basis in bases)))
        self.train(plain.training)

    @property
    def weight(self) -> torch.Tensor:
        """W′ in the shape that the plain layer's weight has; gradients flow through it."""
        with torch.autocast(self._device.type, enabled=False):
            return self._as_plain(self._matrix(self._device, None))

    @property
    def k(self) -> int:
        """How many directions are protected: of inputs and outputs, where both are, the same number."""
        return max(self.k_u, self.k_v)

    @property
    def in_features(self) -> int:
        """n, as a linear layer calls it."""
        return self.n

    @property
    def out_features(self) -> int:
        """m, as a linear layer calls it."""
        return self.m

    @property
    def free(self) -> int:
        """How many numbers of the weight may be learned, (m−k_u)(n−k_v)."""
        return (self.m - self.k_u) * (self.n - self.k_v)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply the layer with W′, as the plain layer would.

        Raises
        ------
        RuntimeError
            If the input does not fit the layer.
        """
        if isinstance(self._shell, nn.Conv2d):
            return self._shell._conv_forward(input, self.weight, self.bias)
        if input.shape[-1:] != (self.n,):
            raise RuntimeError(f"an input of shape {tuple(input.shape)} does not fit: the last size must be {self.n}.")
        y = self._apply_weight(input.reshape(-1, input.shape[-1]))
        return y.reshape(*input.shape[:-1], self.m)

    @torch.no_grad()
    def merged(self) -> torch.Tensor:
        """W′ (m×n) in the layer's own number type, rounded once: multiplied out in float64."""
        W = self._matrix(exact_device(self._device), torch.float64)
        return W.detach().to(self._device, self._dtype, copy=True)

    def plain(self) -> nn.Module:
        """A plain layer with W′ and the bias, all trainable."""
        plain = without_numbers(self._shell)
        plain._parameters["weight"] = nn.Parameter(self._as_plain(self.merged()).contiguous())
        if self.bias is not None:
            plain._parameters["bias"] = nn.Parameter(whole(self.bias).detach().clone())
        return plain.train(self.training)

    def bases(self) -> Bases:
        """The protected directions, in float64: orthonormal up to the rounding of the layer's own type.

        They span what was asked for; each is a singular vector only where the form keeps those.
        """
        raise NotImplementedError

    def kept(self, bases: Bases) -> tuple[torch.Tensor, torch.Tensor]:
        """A = U_hᵀW (k_u×n) and B = WV_h (m×k_v) of the start, in float64, for what :meth:`bases` gave."""
        raise NotImplementedError

    def learn(self, W: torch.Tensor) -> None:
        """Take over the free block of a weight W (m×n)."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Sizes, as they stand in the printed model."""
        k = str(self.k_u) if self.k_u == self.k_v else f"{self.k_u}×{self.k_v}"
        return f"in_features={self.n}, out_features={self.m}, k={k}, bias={self.bias is not None}"

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def as_matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """A weight in the plain layer's shape, as m×n.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        if weight.shape != self._shape:
            raise ValueError(f"a weight has shape {tuple(weight.shape)}: give {tuple(self._shape)}.")
        return weight.mT if is_conv1d(self._shell) else weight.flatten(1)

    def _as_plain(self, W: torch.Tensor) -> torch.Tensor:
        if is_conv1d(self._shell):
            return W.mT
        return W if W.shape == self._shape else W.reshape(self._shape)

    def _hold(self, W: torch.Tensor, bases: Bases) -> None:
        """Keep what the form needs of W and the bases, which are in the type that the splitting works in."""
        raise NotImplementedError

    def _matrix(self, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
        raise NotImplementedError

    def _apply_weight(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def exact_device(device: torch.device) -> torch.device:
    """Where to compute in float64 what is held on a device."""
    return torch.device("cpu") if device.type == "mps" else device  # which has no float64


def double(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor's numbers in float64, without gradient."""
    return tensor.detach().to(exact_device(tensor.device), torch.float64)


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether a tensor is spread over processes: a DTensor, as FSDP2 makes of a parameter."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor itself, or gathered if it is sharded; then every process has to call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def sharded_like(like: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that every process has in full, spread as another one is; itself if that is not."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    mesh = like.device_mesh
    copies = DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return copies.redistribute(placements=like.placements)
