import asyncio
import math
import statistics

import numpy as np
import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc

from tests.demos.race.test_races import course as way
from wonderland import TrainingSim, address
from wonderland.backend import one_core
from wonderland.backend.race import Entrant, RaceSettings, race
from wonderland.demos import jobs
from wonderland.demos.race import races
from wonderland.demos.race.lessons import LESSONS
from wonderland.demos.race.record import recorded
from wonderland.demos.race.tale import tale
from wonderland.demos.training_sim import PICTURES
from wonderland.snapshots.record import plan

PATIENCE = 120


@pytest.fixture
def demo():
    return TrainingSim()


@pytest.fixture(scope="module")
def raced():
    """A short race of a demo, and the same race asked of the backend."""
    demo = TrainingSim(
        course="upright,mirrored,inverted",
        methods="full,lora,osft",
        seeds=2,
        seed=5,
        steps=20,
        keep=0.3,
        rank=4,
        optimizer="momentum",
        scenario="class",
        rates="full=0.02",
    )
    demo.run_now()
    settings = RaceSettings(
        ("upright", "mirrored", "inverted"),
        (Entrant("full", lr=0.02), Entrant("lora", options={"rank": 4}), "osft"),
        seeds=(5, 6),
        steps=20,
        every=1,
        keep=0.3,
        optimizer="momentum",
        scenario="class",
    )
    with one_core():
        points = list(race(settings))
    return demo, points


async def until(ready):
    for _ in range(PATIENCE * 50):
        if ready():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come")


def on_screen(demo, race, **params):
    """Show a race as if it had been run just now."""
    demo.param.update(**params)
    demo._live = race
    demo._on_controls()


def test_defaults_are_the_chapters(demo):
    assert demo.course == "upright,rotated,permuted"
    assert demo.methods == "full,lora,oft,osft,gpm"
    assert (demo.seeds, demo.steps, demo.keep, demo.optimizer, demo.scenario) == (5, 300, 0.5, "adamw", "task")
    assert (demo.view, demo.moment) == ("curves", 100)


def test_the_tale_is_its_formulas(demo):
    for s, (oft, lora, osft, full) in enumerate(zip(*demo.result.tale.values(), strict=True)):
        base = 0.5 + 0.4 * s / 100
        assert oft == pytest.approx(base + 0.05 * math.sin(s / 10))
        assert lora == pytest.approx(base - 0.05 + 0.06 * math.sin(s / 8))
        assert osft == pytest.approx(base + 0.05 + 0.03 * math.sin(s / 12))
        assert full == pytest.approx(base if s < 60 else base - (s - 60) / 100)
    assert list(demo.result.tale) == ["OFT", "LoRA", "OSFT", "full"]
    assert len(demo.result.tale["full"]) == 101


@pytest.mark.parametrize("moment", [0, 1, 60, 79, 80, 100])
def test_the_tale_and_the_race_are_drawn_up_to_one_moment(demo, moment):
    demo.moment = moment
    marks = demo.marks(demo.result)
    np.testing.assert_array_equal(marks["tale OSFT"]["x"], np.arange(moment + 1))
    assert len(marks["arrow"]["x0"]) == (3 if moment >= 80 else 0)
    ends = tale(np.array(moment))
    assert all(f"<dd>{value:.3f}</dd>" in demo.details(demo.result) for value in ends.values())
    assert "illustration" in demo.details(demo.result)
    assert max(marks["kept curves"]["xs"][0]) == 6 * moment // 20 * 20  # a point every 20 of 600 steps


def test_playing_in_a_script_ends_where_it_ends(demo):
    demo.moment = 3
    demo.param.trigger("play")
    assert demo.moment == 100
    assert not demo.playing


def test_playing_goes_point_by_point_and_stops_at_the_end(demo):
    async def session():
        seen = []
        demo.param.watch(lambda event: seen.append(event.new), "moment")
        demo.param.trigger("play")
        assert demo.playing
        await until(lambda: not demo.playing)
        return seen

    seen = asyncio.run(session())
    assert seen[0] == 0
    assert [6 * moment // 20 for moment in seen] == list(range(31))  # each of the 30 points after the start
    assert seen[-1] == 100


def test_playing_can_be_paused_and_goes_on_from_there(demo):
    async def session():
        demo.param.trigger("play")
        await until(lambda: demo.moment > 10)
        demo.param.trigger("play")
        assert not demo.playing
        paused = demo.moment
        await asyncio.sleep(0.4)
        assert demo.moment == paused
        demo.param.trigger("step")
        assert 0 < demo.moment - paused <= 4
        demo.param.trigger("play")
        await until(lambda: demo.moment > paused + 4)
        assert demo.playing
        demo.reset()
        assert (demo.playing, demo.moment) == (False, 100)

    asyncio.run(session())


def test_less_motion_means_none(demo):
    async def session():
        demo._motion.reduced = True
        demo.moment = 30
        demo.param.trigger("play")
        return demo.moment, demo.playing

    assert asyncio.run(session()) == (100, False)


def test_a_step_at_the_end_stays_there(demo):
    demo.param.trigger("step")
    assert demo.moment == 100


def test_a_recorded_race_is_there_before_the_first_click(demo):
    assert demo.result.whole.origin == "recorded"
    assert demo.result.asked == ""
    assert '<span class="tag">recorded</span>' in demo.details(demo.result)
    assert "wonderland.backend.record" in demo.details(demo.result)
    full = recorded().of("full")
    expected = 100 * full.accuracy[:, 1:, 0].mean(axis=0)
    np.testing.assert_allclose(demo.marks(demo.result)["kept curves"]["ys"][0], expected)


@pytest.mark.parametrize("change", [{"methods": "frozen,oft"}, {"seeds": 2}, {"seeds": 1, "seed": 4}])
def test_methods_and_seeds_choose_among_the_recorded(demo, change):
    demo.param.update(**change)
    assert demo.result.asked == ""
    assert set(demo.result.shown.setting.methods) == set(demo.methods.split(","))
    assert demo.result.shown.seeds == tuple(range(demo.seed, demo.seed + demo.seeds))
    assert demo.result.shown.of("oft").accuracy.shape[0] == demo.seeds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 6}, "seeds 0–5"),
        ({"seed": 77}, "seeds 77–81"),
        ({"course": "upright,permuted"}, "upright → permuted"),
        ({"keep": 0.8}, "80% protected"),
        ({"steps": 100}, "100 steps a task"),
        ({"optimizer": "sgd"}, "SGD"),
        ({"scenario": "class"}, "not told which"),
        ({"rank": 4}, "rank 4"),
        ({"block": 8}, "blocks of 8"),
        ({"rates": "full=0.5"}, "full at 0.5"),
    ],
)
def test_what_is_not_recorded_is_asked_to_be_run(demo, change, said):
    demo.param.update(**change)
    assert demo.result.whole.origin == "recorded"
    assert said in demo.result.asked
    assert f"The controls ask for {demo.result.asked}: press Run the race" in demo.details(demo.result)


def test_a_live_race_is_the_backends(raced):
    demo, points = raced
    live = demo.result.whole
    assert (live.origin, live.state, live.seeds, live.reached) == ("live", "done", (5, 6), 40)
    for point in points:
        track = live.of(point.method)
        (at,) = np.flatnonzero((track.task == point.task) & (track.step == point.step))
        seat = track.seeds.index(point.seed)
        np.testing.assert_allclose(track.accuracy[seat, at], point.accuracy, rtol=1e-6)
        for name in ("leak", "drift", "shift", "energy"):
            np.testing.assert_allclose(getattr(track, name)[seat, at], getattr(point, name), rtol=1e-6, atol=1e-12)
    first, last = (
        [p.accuracy for p in points if p.method == "osft" and (p.task, p.step) == at] for at in ((1, 0), (2, 20))
    )
    readouts = {readout.label: readout.value for readout in demo.readouts(demo.result)}
    means = [100 * statistics.mean(accuracy[task] for accuracy in last) for task in (0, 2)]
    assert readouts["OSFT: upright · inverted"] == f"{means[0]:.1f} · {means[1]:.1f}%"
    lost = 100 * statistics.mean(a[0] - b[0] for a, b in zip(first, last, strict=True))
    assert f"{lost:.1f} points less than before" in demo.describe(demo.result)


def test_a_live_race_says_that_it_is(raced):
    demo, _ = raced
    assert not demo.running
    assert '<span class="tag">live</span>' in demo.details(demo.result)
    assert all(
        claim.measured.startswith("Run live (upright → mirrored → inverted") for claim in demo.claims(demo.result)
    )
    assert demo.marks(demo.result)["curves frame"]["ticks"] == [0, 10, 20, 30, 40]


def test_back_at_the_recorded_settings_the_record_is_there_again(raced):
    demo, _ = raced
    other = TrainingSim()
    on_screen(other, demo._live)
    assert other.result.whole.origin == "recorded"  # the live race is not what its controls ask for
    on_screen(other, demo._live, steps=40)
    assert other.result.whole.origin == "live"  # neither is: the last one stands
    assert other.result.asked


def test_the_claims_are_means_over_the_recorded_seeds(demo):
    zero, knowledge = demo.claims(demo.result)
    assert (zero.key, knowledge.key) == ("zero-forgetting", "knowledge")
    lost = {}
    for method in ("full", "osft", "oft"):
        accuracy = recorded().of(method).accuracy[..., 0]
        lost[method] = (100 * (accuracy[:, 1] - accuracy[:, -1])).tolist()
    assert f"{statistics.mean(lost['osft']):.1f} points forgotten (at worst {max(lost['osft']):.1f})" in zero.measured
    assert f"full fine-tuning forgot {statistics.mean(lost['full']):.1f}" in zero.measured
    assert f"OFT lost {statistics.mean(lost['oft']):.1f}" in knowledge.measured
    assert zero.verdict == "fails"  # near-negligible at best
    assert knowledge.verdict == "partly"
    assert zero.measured.startswith(
        "Recorded (upright → rotated → permuted, 300 steps a task, 50% protected; mean of 5 seeds)"
    )


def test_the_claims_speak_of_the_whole_race_at_every_moment(demo):
    before = demo.claims(demo.result)
    demo.moment = 20
    assert demo.claims(demo.result) == before


def made(full, osft, state="done"):
    """A race whose first task ends at these accuracies, from 0.9."""
    setting = races.Setting(("upright", "rotated"), ("full", "osft"), (0,), steps=10)
    race = races.Race(setting, state=state)
    for method, end in (("full", full), ("osft", osft)):
        points = way(method, 0)[:3]
        points = [races.replace(point, accuracy=point.accuracy[:2]) for point in points]
        points[-1] = races.replace(points[-1], accuracy=(end, 0.9))
        race = race.extended(points)
    return race


@pytest.mark.parametrize(
    ("full", "osft", "verdicts"),
    [
        (0.5, 0.9, ("holds", "holds")),
        (0.5, 0.895, ("partly", "holds")),
        (0.5, 0.8, ("fails", "partly")),
        (0.5, 0.4, ("fails", "fails")),
    ],
)
def test_the_verdicts_follow_the_numbers(demo, full, osft, verdicts):
    on_screen(demo, made(full, osft), course="upright,rotated", methods="full,osft", steps=20, seeds=1)
    assert demo.result.whole.origin == "live"
    assert tuple(claim.verdict for claim in demo.claims(demo.result)) == verdicts


def test_a_race_that_runs_claims_nothing_and_one_cut_short_says_so(demo):
    on_screen(demo, made(0.5, 0.8, "running"), course="upright,rotated")
    assert demo.claims(demo.result) == []
    on_screen(demo, made(0.5, 0.8, "cancelled"))
    assert all("cancelled at step 10" in claim.measured for claim in demo.claims(demo.result))
    assert "cancelled at step 10" in demo.details(demo.result)


def test_a_diverging_method_ends_marked_and_the_others_go_on():
    demo = TrainingSim(
        course="upright,rotated", methods="full,osft", seeds=2, steps=20, optimizer="sgd", rates="full=1e9"
    )
    demo.__panel__().get_root()
    race = demo.run_now()
    assert len(race.of("full").lost) == 2
    assert race.of("osft").lost == {}
    assert race.reached == 20
    marks = demo.marks(demo.result)
    assert len(marks["kept lost"]["x"]) == 2
    assert "full: 2 of 2 networks diverged, first at step" in demo.details(demo.result)
    assert "full: 2 of 2 networks diverged" in demo.describe(demo.result)
    assert [r.label for r in demo.readouts(demo.result)] == ["the moment", "OSFT: upright · rotated"]
    for view in demo.param.view.objects:
        demo.view = view
        assert demo.problem == ""


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.label)
def test_a_lesson_is_a_state_of_the_controls(lesson):
    demo = TrainingSim(**lesson.state)
    assert demo.result.asked == "" or "course" in lesson.state  # all but one are on record
    search = address.encode(11, demo)
    other = TrainingSim()
    assert address.apply(other, address.decode(search)[1]) == []
    assert all(getattr(other, name) == value for name, value in lesson.state.items())


def test_the_lessons_hold_in_the_record():
    """What each lesson lets a reader find is there to be found."""
    last = {method: recorded().of(method).last for method in recorded().setting.methods}
    lost = {method: recorded().of(method).forgotten.mean() for method in recorded().setting.methods}
    assert np.abs(last["oft"]("energy") - 1).max() < 1e-6  # to the digits that are written
    assert lost["oft"] > lost["full"] > lost["osft"]
    drift = {method: np.linalg.norm(last[method]("drift"), axis=1).mean() for method in ("full", "osft")}
    assert drift["osft"] > drift["full"]  # went further, forgot less
    assert lost["osft-random"] > lost["osft"] > lost["gpm"]
    leak = {m: np.linalg.norm(last[m]("leak"), axis=1).max() for m in ("osft", "osft-dense", "osft-gradient")}
    assert leak["osft"] < 1e-9
    assert leak["osft-dense"] < 1e-5  # the weight itself is rounded, in float32
    assert leak["osft-gradient"] > 0.1
    assert lost["osft-gradient"] > lost["osft-dense"]


def test_a_race_runs_beside_its_session_and_can_be_cancelled():
    demo = TrainingSim(course="upright,rotated", methods="full,osft", seeds=1, steps=1000, seed=3)
    demo._card.get_root()  # as on a page

    async def session():
        demo.param.trigger("run")
        assert demo.running
        assert "first task" in demo.progress()
        assert demo.result.whole.origin == "recorded"  # until the first point is there
        await until(lambda: demo.result.whole.origin == "live" and demo.result.whole.reached)
        assert "left</p>" in demo.progress()
        demo.moment = 40  # the session answers meanwhile
        assert len(demo.result.tale["OFT"]) == 41
        demo.param.trigger("cancel")
        assert not demo.running
        assert demo.progress() == ""
        await asyncio.sleep(0.4)

    asyncio.run(session())
    reached = demo.result.whole.reached
    assert 0 < reached < 1000
    assert demo.result.whole.state == "cancelled"
    assert f"live, cancelled at step {reached} of 1000" in demo.details(demo.result)


def test_a_race_cancelled_before_its_first_point_leaves_the_old_one():
    demo = TrainingSim(steps=1000, seed=4)

    async def session():
        demo.param.trigger("run")
        demo.param.trigger("cancel")
        await asyncio.sleep(0.3)

    asyncio.run(session())
    assert not demo.running
    assert demo.result.whole.origin == "recorded"


def test_reset_ends_the_race_and_shows_the_recorded_one():
    demo = TrainingSim(steps=1000, seed=4, moment=10)

    async def session():
        demo.param.trigger("run")
        demo.reset()
        await asyncio.sleep(0.3)

    asyncio.run(session())
    assert not demo.running
    assert demo.result.whole.origin == "recorded"
    assert (demo.moment, demo.steps, demo.seed) == (100, 300, 0)


def test_a_failing_race_is_answered_in_words(demo, monkeypatch):
    def broken(*_):
        raise RuntimeError("the digits are lost")

    monkeypatch.setattr("wonderland.demos.training_sim.race_points", broken)
    demo._card.get_root()
    demo.run_now()
    assert demo.problem == "The race ended early: the digits are lost"
    assert not demo.running
    assert demo.result.whole.origin == "recorded"


def test_the_address_keeps_the_controls_and_not_the_run(demo):
    demo.param.update(moment=40, course="low,high", methods="full,gpm", keep=0.75, rates="gpm=0.003", view="matrix")
    search = address.encode(11, demo)
    assert "running" not in search
    assert "playing" not in search
    other = TrainingSim()
    assert address.apply(other, address.decode(search)[1]) == []
    assert (other.moment, other.course, other.methods, other.keep) == (40, "low,high", "full,gpm", 0.75)
    assert (other.rates, other.view, other.running) == ("gpm=0.003", "matrix", False)


def test_a_recording_of_it_has_every_view_and_is_small(demo):
    assert plan(demo).states <= 2000
    assert tuple(demo.axes["view"]) == tuple(PICTURES)


def test_a_recording_stops_where_the_curves_have_points(demo):
    demo.moment = 0
    stops = [0]
    while demo.moment < 100:
        demo.step = True
        stops.append(demo.moment)
    assert stops == list(demo.axes["moment"])


def test_a_control_of_one_view_is_offered_there_alone(demo):
    offered = {}
    for view in PICTURES:
        demo.view = view
        offered[view] = [name for name in demo.axes if demo.offered(name)]
    always = ["moment", "seeds", "view"]
    assert offered == {
        "curves": [*always, "watched"],
        "matrix": [*always, "focus", "measure_of"],
        "plane": always,
        "layers": [*always, "weights"],
        "prediction": [*always, "revealed"],
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("moment", 101, "How much of the course is done, % = 101 is out of range"),
        ("moment", math.nan, "give a whole number, 0…100"),
        ("keep", 0, "Share that OSFT protects = 0 is out of range"),
        ("keep", 1.0, "0.1…0.9"),
        ("keep", math.inf, "inf"),
        ("keep", "half", "“half”"),
        ("steps", 0, "20…1,000"),
        ("steps", 10**12, "1,000,000,000,000"),
        ("steps", True, "True"),
        ("seeds", 0, "Seeds = 0 is out of range: give a whole number, 1…10"),
        ("seed", -1, "0…99"),
        ("seed", 1.5, "1.5"),
        ("seed", "", "empty"),
        ("rank", 129, "Rank of LoRA = 129 is out of range: give a whole number, 1…128"),
        ("block", 65, "2…64"),
        ("course", "upright", "holds 1: choose 2 to 5"),
        ("course", "upright,upright", "upright twice"),
        ("course", "upright,moon", "“moon”"),
        ("methods", "", "Methods is empty: choose 1 to 13"),
        ("methods", "magic", "“magic”"),
        ("rates", "full=0", "Learning rate of full = 0 is out of range"),
        ("optimizer", "luck", "luck"),
        ("view", None, "None"),
    ],
)
def test_bad_input_is_refused(demo, name, value, message):
    before = getattr(demo, name)
    with pytest.raises(ValueError, match=message):
        setattr(demo, name, value)
    assert getattr(demo, name) == before


def test_networks_are_prepared_for_the_last_seeds_that_were_set(monkeypatch):
    prepared = []
    monkeypatch.setattr(jobs, "served", lambda: True)
    monkeypatch.setattr(jobs, "prepare", lambda stream: prepared.append(stream.args[0]["seeds"]))
    document = Document()
    with set_curdoc(document):
        demo = TrainingSim()
        demo.seeds = 2
        demo.param.update(seeds=3, seed=7)
        (resting,) = document.session_callbacks
        resting.callback()
        assert prepared == [[7, 8, 9]]
        demo.keep = 0.3  # which leaves the first task as it is
        assert not document.session_callbacks
        demo.seed = 8
        (resting,) = document.session_callbacks
        monkeypatch.setattr(jobs.Worker, "busy", True)
        resting.callback()
        assert len(prepared) == 1  # a race at work is left the machine
