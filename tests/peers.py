"""OSFT as other projects' code does it, behind one small interface, for tests and benchmarks to compare with."""

import importlib.util
import sys
import types
import warnings
from functools import cache
from typing import Any

import torch
from peft import OSFConfig, get_peft_model
from torch import nn


class PeftOSF(nn.Module):
    """One linear layer under peft's OSFConfig: its hooks project the gradients of the factors."""

    def __init__(self, W: torch.Tensor, k: int):
        super().__init__()
        config = OSFConfig(effective_rank=k, target_modules=["0"])
        with warnings.catch_warnings(action="ignore"):  # it recommends a base model with a name
            self.inner = get_peft_model(nn.Sequential(plain(W)), config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)

    def weight(self) -> torch.Tensor:
        """W′, m×n, in float64."""
        layer = self.inner.base_model.model[0]
        return (layer.get_base_layer().weight.double() + layer.get_delta_weight("default").double()).detach()


class MiniTrainerOSFT(nn.Module):
    """One linear layer in mini_trainer's factors, with its projections of gradients and of parameters."""

    def __init__(self, W: torch.Tensor, k: int):
        super().__init__()
        self._utils = mini_trainer()
        factors = self._utils.create_svd_dict(W, k)
        for name in ("U_high", "S_high", "V_high"):
            self.register_buffer(name, factors[name])
        self.low = nn.ParameterDict({name: factors[name] for name in ("U_low", "S_low", "V_low")})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        high = (x @ self.V_high.T * self.S_high) @ self.U_high.T
        return high + (x @ self.low["V_low"].T * self.low["S_low"]) @ self.low["U_low"].T

    def around(self, step: Any) -> None:
        """Take an optimizer's step between the two projections, as its `optim_wrapper` does."""
        self._utils.project_gradient_to_orthogonal_space(self._factors())
        step()
        with torch.no_grad():
            self._utils.project_parameter_to_orthogonal_space(self._factors())

    def weight(self) -> torch.Tensor:
        """W′, m×n, in float64."""
        return self._utils.reconstruct_weight_matrix(self._factors(), torch.float64).detach()

    def _factors(self) -> dict[str, Any]:
        high = {name: getattr(self, name) for name in ("U_high", "S_high", "V_high")}
        return high | dict(self.low.items()) | {"rank_high": len(self.S_high)}


def plain(W: torch.Tensor) -> nn.Linear:
    """A linear layer without bias that holds a copy of W (m×n)."""
    linear = nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=W.dtype)
    linear.weight.data = W.clone()
    return linear


@cache
def mini_trainer() -> types.ModuleType:
    """mini_trainer's module of OSFT, without the package's own start, which asks for a GPU."""
    spec = importlib.util.find_spec("mini_trainer")
    package = types.ModuleType("mini_trainer")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["mini_trainer"] = package
    with warnings.catch_warnings(action="ignore"):
        return importlib.import_module("mini_trainer.osft_utils")
