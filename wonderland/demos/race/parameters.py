"""What a reader may choose of a race: its parameters, and the setting that they spell."""

import param

from wonderland.demos.parameters import Choice, Real, Whole
from wonderland.demos.race.entrants import LEARNING_RATES, METHODS, OPTIMIZERS, SCENARIOS, TASKS
from wonderland.demos.race.layers import WEIGHTS
from wonderland.demos.race.matrix import MEASURES
from wonderland.demos.race.races import BLOCK, RANK, Setting
from wonderland.demos.several import Rates, Several, rates_of, split

VIEWS = ("curves", "matrix", "plane", "layers", "prediction")


class RaceParameters(param.Parameterized):
    """Who races, over what, how long; and what of it is on screen."""

    course = Several(
        default="upright,rotated,permuted",
        objects=tuple(TASKS),
        least=2,
        most=5,
        label="Course, task by task",
        doc="What the networks learn, in the order in which it is chosen. They know the first when the race begins.",
    )
    methods = Several(
        default="full,lora,oft,osft,gpm",
        objects=tuple(METHODS),
        fixed=True,
        least=1,
        most=len(METHODS),
        label="Methods",
        doc="Who races.",
    )
    seeds = Whole(
        default=5,
        bounds=(1, 10),
        step=1,
        label="Seeds",
        doc="How many networks each method trains, all from other first weights and another order of the images.",
    )
    run = param.Event(label="Run the race", doc="Train all of them now, with the settings above.")
    cancel = param.Event(label="Cancel", doc="End the race that runs; what it has reached stays.")
    view = Choice(default="curves", objects=list(VIEWS), label="View", doc="How the race is drawn.")
    play = param.Event(label="Play", doc="Draw the tale and the race from the start, or stop where they are.")
    step = param.Event(label="Step", doc="Go on by one point of the curves.")
    moment = Whole(
        default=100,
        bounds=(0, 100),
        step=1,
        label="How much of the course is done, %",
        doc="The moment of the training that the pictures show, the tale's and the race's.",
    )
    watched = Whole(
        default=1,
        bounds=(1, 5),
        step=1,
        label="Task watched",
        doc="Whose accuracy the curves show: 1 is the first task.",
    )
    focus = param.Selector(
        default="osft",
        objects={runner.label: name for name, runner in METHODS.items()},
        label="Matrix of",
        doc="The method whose accuracy matrix is drawn.",
    )
    measure_of = param.Selector(
        default="average accuracy",
        objects=list(MEASURES),
        label="Read off it",
        doc="The measure whose cells are outlined, and which every method is compared by.",
    )
    weights = Choice(
        default="leak", objects=list(WEIGHTS), label="Of the weights", doc="What is measured of each layer."
    )
    guess = Several(
        default="",
        objects=tuple(METHODS),
        least=0,
        most=len(METHODS),
        label="Your order",
        doc="The methods as the reader expects them to come in, best first.",
    )
    reveal = param.Event(label="Reveal", doc="Show the order that was measured.")
    revealed = param.Boolean(default=False, label="Revealed", doc="Whether the measured order is shown.")
    steps = Whole(
        default=300,
        bounds=(20, 1000),
        step=20,
        label="Training steps a task",
        doc="Of 64 images each, on every new task.",
    )
    keep = Real(
        default=0.5,
        bounds=(0.1, 0.9),
        step=0.05,
        label="Share that OSFT protects",
        doc="Of each weight's singular directions, the strongest first.",
    )
    rank = Whole(default=RANK, bounds=(1, 128), step=1, label="Rank of LoRA", doc="No layer here has a rank above 128.")
    block = Whole(
        default=BLOCK, bounds=(2, 64), step=1, label="Block of OFT", doc="The first layer has 64 inputs to turn."
    )
    seed = Whole(default=0, bounds=(0, 99), step=1, label="First seed", doc="The others follow it.")
    optimizer = Choice(
        default="adamw",
        objects=list(OPTIMIZERS),
        label="Optimizer",
        doc="AdamW without decay, SGD with momentum, or SGD.",
    )
    scenario = Choice(
        default="task",
        objects=list(SCENARIOS),
        label="Scenario",
        doc="Task-incremental: the network is told which task an image is of. Class-incremental: it is not.",
    )
    rates = Rates(
        objects=tuple(METHODS),
        bounds=LEARNING_RATES,
        label="Learning rates",
        doc="By method; the tuned one where none is given.",
    )

    def setting(self) -> Setting:
        """The race that the controls ask for."""
        return Setting(
            tasks=tuple(split(self.course)),
            methods=tuple(split(self.methods)),
            seeds=tuple(range(self.seed, self.seed + self.seeds)),
            steps=self.steps,
            keep=self.keep,
            optimizer=self.optimizer,
            scenario=self.scenario,
            rank=self.rank,
            block=self.block,
            rates=rates_of(self.rates),
        )
