"""What a race is: its tasks, methods, seeds and steps, as data that is checked."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path

from wonderland.backend.methods import METHODS
from wonderland.backend.network import SCENARIOS, SPLITS
from wonderland.backend.osft import check_keep
from wonderland.backend.tasks import TASKS
from wonderland.maths._check import MAX_SEED, choice, integer, number, shown

MAX_STEPS = 10_000
MAX_SEEDS = 64
MAX_ENTRANTS = 32
MAX_TASKS = 5
MAX_NAME = 40
LEARNING_RATES = (1e-12, 1e12)
OPTIMIZERS = ("adamw", "momentum", "sgd")
# Settings of several entries, and how they look in a table.
LISTS = {"tasks": ["upright", "rotated"], "methods": ["full", "osft"], "seeds": [0]}
TUNED = Path(__file__).parent.parent / "data" / "tuning.json"


@dataclass(frozen=True)
class Entrant:
    """A method as it enters a race.

    Parameters
    ----------
    method
        One of ``methods.METHODS``.
    name
        What its points are called; the method's own name by default. So one method can race twice.
    lr
        Learning rate, 1e-12 to 1e12; by default the one that did best on the validation images.
    keep
        Fraction of the directions to protect, where it shall differ from the race's.
    options
        The method's own settings, by name; defaults where left out.

    Raises
    ------
    TypeError, ValueError
        If a setting is of the wrong type, unknown, or outside its range.
    """

    method: str
    name: str = ""
    lr: float | None = None
    keep: float | None = None
    options: Mapping[str, float | str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        known = METHODS[choice(self.method, "method", tuple(METHODS))].options
        if not isinstance(self.name, str) or len(self.name) > MAX_NAME:
            raise TypeError(f"name = {shown(self.name)} is not a text of at most {MAX_NAME} letters.")
        object.__setattr__(self, "name", self.name or self.method)
        if self.lr is not None:
            number(self.lr, f"lr of {self.name}", *LEARNING_RATES, "a learning rate is a positive number")
        if self.keep is not None:
            check_keep(self.keep)
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options of {self.name} = {shown(self.options)} are not a table: give {{name: value}}.")
        for option, value in self.options.items():
            if option not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"{shown(option)} is no option of {self.method}: {has}, beside name, lr and keep.")
            known[option].checked(value, f"{option} of {self.name}")

    @property
    def settings(self) -> dict[str, float | str]:
        """The method's own settings, given or default."""
        return {name: option.default for name, option in METHODS[self.method].options.items()} | dict(self.options)

    @classmethod
    def parsed(cls, value: object) -> "Entrant":
        """Read an entrant from a method's name, or from a table of ``method`` and whatever settings.

        Raises
        ------
        TypeError, ValueError
            If it is neither, or holds something unknown.
        """
        if isinstance(value, Entrant):
            return value
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping) or "method" not in value:
            raise TypeError(f"methods holds {shown(value)}: give a name, or a table with a method.")
        own = {name: value[name] for name in ("method", "name", "lr", "keep") if name in value}
        return cls(**own, options={name: held for name, held in value.items() if name not in own})


@dataclass(frozen=True)
class RaceSettings:
    """Who races, over what, and how long.

    Parameters
    ----------
    tasks
        The course, 2 to 5 of ``tasks.TASKS``, each once. The networks have learned the first when the race
        begins.
    methods
        Who races: names in ``methods.METHODS``, or :class:`Entrant`.
    seeds
        A network, and an order of the images, for each; 1 to 64 of them, 0 to 2³² − 1.
    steps
        Training steps on each task after the first, 1 to 10,000, of 64 images each. Every method of a seed
        sees the same images.
    every
        Steps from one point of a curve to the next.
    keep
        Fraction of each weight's directions that is protected, strictly between 0 and 1. The leak is measured
        in these directions for every method, protecting or not.
    optimizer
        "adamw", "momentum" (SGD with 0.9), or "sgd".
    weight_decay
        Of the optimizer, 0 to 1; with 0 AdamW is Adam.
    scenario
        "task": a network is told which task an image is of, and answers within its classes. "class": it is not.
    judged_on
        "test"; or "validation", to choose settings by: then the validation images are not learned from.

    Raises
    ------
    TypeError, ValueError
        If a setting is of the wrong type, unknown, or outside its range.
    """

    tasks: tuple[str, ...] = ("upright", "rotated")
    methods: tuple[Entrant, ...] = ("full", "lora", "oft", "osft", "gpm")
    seeds: tuple[int, ...] = (0,)
    steps: int = 300
    every: int = 10
    keep: float = 0.5
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    scenario: str = "task"
    judged_on: str = "test"

    def __post_init__(self) -> None:
        for task in _distinct(self.tasks, "tasks", 2, MAX_TASKS, "a course is some tasks in a row"):
            choice(task, "task", TASKS)
        _several(self.methods, "methods", 1, MAX_ENTRANTS, "give one at least")
        object.__setattr__(self, "methods", tuple(map(Entrant.parsed, self.methods)))
        _distinct(tuple(entrant.name for entrant in self.methods), "methods", 1, MAX_ENTRANTS, "")
        for seed in _distinct(self.seeds, "seeds", 1, MAX_SEEDS, "a race has one at least"):
            integer(seed, "seed", 0, MAX_SEED, "the seed of a race")
        integer(self.steps, "steps", 1, MAX_STEPS, "the number of training steps")
        integer(self.every, "every", 1, MAX_STEPS, "the number of steps from point to point")
        check_keep(self.keep)
        choice(self.optimizer, "optimizer", OPTIMIZERS)
        number(self.weight_decay, "weight_decay", 0, 1)
        choice(self.scenario, "scenario", SCENARIOS)
        choice(self.judged_on, "judged_on", SPLITS)
        for entrant in self.methods:
            self.rate(entrant)

    def rate(self, entrant: Entrant) -> float:
        """Learning rate that an entrant races with.

        Raises
        ------
        ValueError
            If it has none of its own, and none is known for its method with this optimizer.
        """
        return tuned_rate(entrant.method, self.optimizer) if entrant.lr is None else entrant.lr

    def as_table(self) -> dict[str, object]:
        """Every setting, defaults and rates written out, as JSON and TOML hold it; :func:`from_table` reads it."""
        methods = [
            {"method": entrant.method, "name": entrant.name, "lr": self.rate(entrant)}
            | {"keep": self.keep if entrant.keep is None else entrant.keep}
            | entrant.settings
            for entrant in self.methods
        ]
        return asdict(self) | {"tasks": list(self.tasks), "seeds": list(self.seeds), "methods": methods}


def from_table(table: object) -> RaceSettings:
    """Read settings from a table such as a TOML file holds; what is left out is the default.

    Raises
    ------
    TypeError, ValueError
        If a key is unknown, or a value of the wrong type or outside its range.
    """
    if not isinstance(table, Mapping):
        raise TypeError(f"settings = {shown(table)} are not a table.")
    known = [each.name for each in fields(RaceSettings)]
    for key in table:
        if key not in known:
            raise ValueError(f"{shown(key)} is no setting of a race: it has {', '.join(known)}.")
    return RaceSettings(**{key: _listed(held, key) if key in LISTS else held for key, held in table.items()})


def tuned_rate(method: str, optimizer: str) -> float:
    """Learning rate of a method by default: the one that the sweep in ``data/tuning.json`` chose.

    Raises
    ------
    ValueError
        If neither the method's own ``rates`` nor the sweep has one.
    """
    rate = METHODS[method].rates.get(optimizer) or _tuned().get(optimizer, {}).get(method)
    if rate is None:
        raise ValueError(f"lr of {method} with {optimizer} is not known: give one, such as 0.001.")
    return rate


@cache
def _tuned() -> dict[str, dict[str, float]]:
    try:
        chosen = json.loads(TUNED.read_text(encoding="utf-8"))["chosen"]
        return {
            optimizer: {method: number(rate, "lr", *LEARNING_RATES) for method, rate in rates.items()}
            for optimizer, rates in chosen.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{TUNED.name} holds no tuned rates ({error}): run wonderland.backend.tuning anew.") from error


def _listed(values: object, name: str) -> tuple:
    """What a table has as a list, which TOML and JSON know, and no tuple."""
    if not isinstance(values, (list, tuple)):
        one = {
            "methods": isinstance(values, str) and values in METHODS,
            "seeds": type(values) is int and 0 <= values <= MAX_SEED,
        }
        example = json.dumps([values] if one.get(name) else LISTS[name])
        raise TypeError(f"{name} = {shown(values)} is not a list: give one, such as {example}.")
    return tuple(values)


def _several(values: object, name: str, least: int, most: int, why: str) -> tuple:
    if not isinstance(values, tuple):
        raise TypeError(f"{name} = {shown(values)} is not a tuple: give ({shown(values)},) for one alone.")
    integer(len(values), f"len({name})", least, most, why)
    return values


def _distinct(values: object, name: str, least: int, most: int, why: str) -> tuple:
    _several(values, name, least, most, why)
    # By what they look like: entries of any type may come, and True must not pass for 1.
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"{name} = {shown(values)} holds one of them twice: name each once.")
    return values
