"""Down the Orthogonal Rabbit Hole: an interactive explainer of orthogonal fine-tuning.

Importing the package is light: Panel is loaded when a demo is first asked for, torch when a demo first trains.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_MODULES = {
    "Budget": "budget",
    "Calculator": "calculator",
    "EnergyDemo": "energy",
    "FirstForgetting": "first_forgetting",
    "LookingGlass": "looking_glass",
    "MatrixGarden": "matrix_garden",
    "NumpyWarmup": "numpy_warmup",
    "OSFTStep": "osft_step",
    "ProjectionDemo": "projection",
    "RabbitHole": "rabbit_hole",
    "RotationDemo": "rotation",
    "SVDExplorer": "svd_explorer",
    "TrainingSim": "training_sim",
    "WeightsExplorer": "weights",
}

try:
    __version__ = version("wonderland")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0.0.0"

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    if name == "snapshot":
        return import_module("wonderland.snapshots").snapshot
    if name not in _MODULES:
        raise AttributeError(f"module 'wonderland' has no attribute {name!r}")
    return getattr(import_module(f"wonderland.demos.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, "snapshot"]
