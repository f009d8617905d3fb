from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from wonderland import TrainingSim
from wonderland.demos.race import prediction
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.record import recorded

orders = st.permutations(list(METHODS)).flatmap(lambda order: st.tuples(st.just(order), st.permutations(order)))


@given(orders)
def test_tau_is_kendalls(both):
    guessed, measured = both
    gap = prediction.compare(guessed, measured)
    place = [measured.index(method) for method in guessed]
    assert gap.tau == pytest.approx(kendalltau(range(len(place)), place).statistic)
    assert gap.pairs == 78


def test_wrong_pairs_by_hand():
    gap = prediction.compare(["a", "b", "c"], ["c", "a", "b"])
    assert (gap.pairs, gap.wrong) == (3, 2)  # a before c and b before c
    assert prediction.compare(["a"], ["a"]).tau == 1
    wrong = [prediction.compare("abcd", order).wrong for order in permutations("abcd")]
    assert (min(wrong), max(wrong), sum(wrong) / len(wrong)) == (0, 6, 3)


@given(orders, st.integers(0, 12), st.sampled_from([-1, 1]))
def test_a_move_exchanges_two_neighbors(both, at, by):
    order = list(both[1])
    new = prediction.moved(order, order[at], by)
    to = at + by
    if not 0 <= to < len(order):
        assert new == order
    else:
        assert (new[at], new[to]) == (order[to], order[at])
        assert sorted(new) == sorted(order)


def test_who_is_not_ranked_stands_behind():
    assert prediction.ordered(["osft", "gpm"], ["full", "osft", "oft"]) == ["osft", "full", "oft"]


@pytest.fixture
def demo():
    return TrainingSim(view="prediction")


def words(demo):
    return demo.describe(demo.result) + demo.details(demo.result) + str(demo.readouts(demo.result))


def test_nothing_of_the_outcome_is_there_before_it_is_revealed(demo):
    demo.__panel__().get_root()
    for method in demo.result.guessed:
        R = recorded().of(method).matrices()[0]
        assert f"{100 * R[:, -1].mean():.1f}" not in words(demo)
    assert demo.claims(demo.result) == []
    assert demo.marks(demo.result)["slopes"]["x0"] == []
    assert demo.marks(demo.result)["measured names"]["text"] == [f"{place}. ?" for place in range(1, 6)]


def test_the_gap_is_between_the_readers_order_and_the_measured_one(demo):
    demo.guess = "full,lora,oft,osft,gpm"
    demo.param.trigger("reveal")
    averages = {
        method: float(np.mean([R[-1].mean() for R in recorded().of(method).matrices()[0]]))
        for method in demo.result.guessed
    }
    order = sorted(averages, key=averages.get, reverse=True)
    assert sorted(demo.result.measured, key=demo.result.measured.get, reverse=True) == order
    pairs = [(a, b) for at, a in enumerate(demo.result.guessed) for b in demo.result.guessed[at + 1 :]]
    wrong = sum(averages[a] < averages[b] for a, b in pairs)
    shown = {readout.label: readout.value for readout in demo.readouts(demo.result)}
    assert shown["pairs of methods you had right"] == f"{10 - wrong} of 10"
    marks = demo.marks(demo.result)
    for row, method in enumerate(demo.result.guessed):
        assert marks["slopes"]["y0"][row] == -row
        assert marks["slopes"]["y1"][row] == -order.index(method)
    assert f"you had {wrong} the wrong way round" in demo.describe(demo.result)
    demo.guess = ",".join(order)
    assert {r.label: r.value for r in demo.readouts(demo.result)}["Kendall’s τ of the two orders"] == "+1.00"


def test_buttons_move_an_entry_and_the_address_keeps_the_order(demo):
    ranking = next(part for part in demo.__panel__().select(prediction.Ranking))
    assert [item[0] for item in ranking.items] == ["full", "lora", "oft", "osft", "gpm"]
    ranking._handle_msg({"name": "gpm", "way": "up"})
    assert demo.guess == "full,lora,oft,gpm,osft"
    assert [item[0] for item in ranking.items] == ["full", "lora", "oft", "gpm", "osft"]
    ranking._handle_msg({"name": "full", "way": "up"})  # it is the first already
    assert demo.guess.startswith("full,lora")
    ranking._handle_msg({"name": "nobody", "way": "up"})
    assert demo.guess == "full,lora,oft,gpm,osft"


def test_a_race_that_has_not_been_run_reveals_nothing_until_it_is(demo):
    demo.param.update(course="upright,mirrored", methods="full,osft,frozen", steps=20, seeds=1)
    demo.param.trigger("reveal")
    assert demo.result.measured == {}
    assert demo.result.asked
    demo.run_now()
    assert set(demo.result.measured) == {"full", "osft", "frozen"}
    assert demo.result.asked == ""
