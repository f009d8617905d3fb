import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.maths.counting import (
    MAX_FEATURES,
    _divisors,
    boft,
    boft_free,
    buffers_osft_core,
    buffers_osft_factored,
    core_form,
    core_rotation,
    full,
    lora,
    oft,
    oft_block,
    osft_core,
    osft_factored,
    psoft,
    rank_squared,
    unfreeze_rank_ratio_to_k,
)

HUGE = MAX_FEATURES
# in, out, then full, LoRA r16, OFT b16, OFT r16, BOFT b8 m1, OSFT factored at k = 16, 50% and 90%.
REFERENCE = [
    (512, 256, 131_072, 12_288, 3_840, 7_936, 4_352, 184_560, 98_432, 19_994),
    (768, 768, 589_824, 24_576, 5_760, 18_048, 6_912, 1_155_824, 590_208, 118_349),
    (3072, 768, 2_359_296, 61_440, 23_040, 293_376, 25_344, 2_888_432, 1_474_944, 295_757),
    (4096, 4096, 16_777_216, 131_072, 30_720, 522_240, 36_864, 33_427_440, 16_779_264, 3_359_130),
    (11008, 4096, 45_088_768, 241_664, 82_560, 3_781_248, 92_160, 61_628_400, 30_935_040, 6_193_050),
]

sizes = st.integers(1, 300)
checked = settings(deadline=None, max_examples=40)


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: f"{row[0]}→{row[1]}")
def test_reference_table(row):
    n, m, *expected = row
    least = min(m, n)
    assert [
        full(n, m),
        lora(n, m, 16),
        oft(n, m, block=16),
        oft(n, m, blocks=16),
        boft(n, m, 1, 8),
        osft_factored(n, m, 16),
        osft_factored(n, m, least // 2),
        osft_factored(n, m, least * 9 // 10),
    ] == expected


def test_reference_shares_of_512_to_256():
    whole = full(512, 256)
    assert oft(512, 256, block=16) / whole == pytest.approx(0.029, abs=5e-4)
    assert osft_factored(512, 256, 128) / whole == pytest.approx(0.75, abs=5e-3)
    assert osft_factored(512, 256, 16) / whole == pytest.approx(1.41, abs=5e-3)
    assert osft_core(512, 256, 128) / whole == 0.375
    assert osft_core(512, 256, 16) / whole == pytest.approx(0.91, abs=5e-3)
    assert rank_squared(16) == 256


def test_reference_count_of_llama_3b_query_and_value():
    # 28 layers of width 3072; 24 query heads and 8 value heads of 128.
    layers = 28
    assert layers * (lora(3072, 3072, 32) + lora(3072, 1024, 32)) == 9_175_040
    assert layers * (oft(3072, 3072, blocks=32) + oft(3072, 1024, blocks=32)) == 8_171_520
    assert layers * (boft(3072, 3072, 1, 4) + boft(3072, 1024, 1, 4)) == 802_816
    assert layers * 2 * rank_squared(32) == 57_344


@checked
@given(sizes, sizes, st.data())
def test_counts_are_those_of_the_arrays_they_name(n, m, data):
    rank = data.draw(st.integers(1, 2 * min(m, n)))
    k = data.draw(st.integers(0, min(m, n)))
    U, S, Vt = np.empty((m, min(m, n))), np.empty(min(m, n)), np.empty((min(m, n), n))
    assert full(n, m) == np.empty((m, n)).size
    assert lora(n, m, rank) == np.empty((rank, n)).size + np.empty((m, rank)).size
    assert osft_factored(n, m, k) == U[:, k:].size + S[k:].size + Vt[k:].size
    U, Vt = np.empty((m, m)), np.empty((n, n))
    assert osft_core(n, m, k) == np.empty((U[:, k:].shape[1], Vt[k:].shape[0])).size
    held = U[:, k:].size + Vt[k:].size + n * m
    rotated = k**2
    for Q in (U, Vt):
        blocks = Q[:k, :k].size + Q[k:, k:].size
        factors = 2 * Q[:, :k].size
        kind = "cosine-sine" if blocks < factors else "reflectors"
        assert core_rotation(len(Q), k) == (kind, min(blocks, factors))
        rotated += factors if kind == "reflectors" else blocks + 2 * min(Q[:k, :k].shape[0], Q[k:, k:].shape[0])
    assert buffers_osft_core(n, m, k) == (held if core_form(n, m, k)[0] == "held" else rotated)
    assert psoft(rank) == np.tril_indices(rank, -1)[0].size + 2 * rank


@checked
@given(sizes, sizes, st.integers(1, 320), st.booleans())
def test_oft_counts_the_skew_part_of_every_block(n, m, asked, share):
    def skew(b):
        return len(np.triu_indices(b, 1)[0])

    b = oft_block(n, asked)
    assert oft(n, m, block=asked, share=share) == (1 if share else n // b) * skew(b)
    count = oft_block(n, asked)
    assert oft(n, m, blocks=asked, share=share) == (1 if share else count) * skew(n // count)


@checked
@given(sizes, st.integers(1, 320))
def test_oft_block_is_the_nearest_divisor_and_the_smaller_of_two(n, asked):
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    expected = n if asked >= n else min(divisors, key=lambda d: (abs(d - asked), d))
    assert oft_block(n, asked) == expected


@pytest.mark.parametrize(
    ("n", "asked", "block", "count"),
    [(100, 16, 20, 950), (97, 16, 1, 0), (64, 100, 64, 2016), (12, 5, 4, 18), (1, 1, 1, 0)],
)
def test_oft_blocks_at_the_edges(n, asked, block, count):
    assert oft_block(n, asked) == block
    assert oft(n, 10, block=asked) == count


def test_more_oft_blocks_are_fewer_parameters():
    counts = [oft(512, 256, blocks=blocks) for blocks in (1, 2, 4, 8, 16, 32, 512)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


@pytest.mark.parametrize(
    ("n", "asked", "block"),
    [
        (HUGE, HUGE // 2 - 1, HUGE // 2),
        (HUGE, 7, 8),
        (HUGE - 11, HUGE // 3, 1),  # the largest prime below 10¹²
        (999_983**2, 10**6, 999_983),
    ],
)
def test_oft_block_is_found_without_a_walk(n, asked, block):
    _divisors.cache_clear()
    start = time.perf_counter()
    assert oft_block(n, asked) == block
    assert time.perf_counter() - start < 1


def test_counts_stay_exact_at_the_largest_layer():
    assert full(HUGE, HUGE) == 10**24
    assert lora(HUGE, HUGE, 12_345) == 24_690 * 10**12
    assert oft(HUGE, 1, block=HUGE) == 10**12 * (10**12 - 1) // 2
    assert oft(HUGE, 1, block=3, share=True) == 1  # 3 is as near to 2 as to 4
    assert osft_factored(HUGE, HUGE, 1) == (10**12 - 1) * (2 * 10**12 + 1)
    assert osft_core(HUGE, HUGE - 1, 3) == (10**12 - 3) * (10**12 - 4)
    assert boft(HUGE, 7, 2, 10**6) == 2 * 10**18 + 7
    assert boft_free(HUGE, 7, 2, 10**6) == 10**12 * (10**6 - 1)
    assert psoft(HUGE) == 10**12 * (10**12 - 1) // 2 + 2 * 10**12
    assert unfreeze_rank_ratio_to_k(HUGE, 0.0) == 10**12 - 1


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8])
def test_numpy_integers_cannot_overflow(integer):
    count = full(integer(200), integer(200))
    assert type(count) is int
    assert count == 40_000


@checked
@given(sizes, st.floats(0, 1))
def test_protected_directions_of_mini_trainer(least, u):
    k = unfreeze_rank_ratio_to_k(least, u)
    assert k == min(int(np.floor(least * (1.0 - u))), least - 1)
    assert type(k) is int


def test_protected_directions_at_the_ends():
    assert [unfreeze_rank_ratio_to_k(10, u) for u in (0, 0.25, 0.5, 0.9, 1)] == [9, 7, 5, 0, 0]
    assert unfreeze_rank_ratio_to_k(1, 0) == 0


def test_peft_holds_four_times_the_base_at_a_quarter_protected():
    n = 4096
    numbers = full(n, n) + osft_factored(n, n, n // 4) + buffers_osft_factored(n, n, n // 4)
    assert numbers / full(n, n) == pytest.approx(4.0, abs=1e-3)


def test_core_is_smaller_than_factors_wherever_something_is_trained():
    for n, m in [(64, 64), (64, 256), (256, 128)]:
        for k in range(min(m, n)):
            assert osft_core(n, m, k) < osft_factored(n, m, k)
        assert osft_factored(n, m, min(m, n)) == 0
        assert osft_core(n, m, min(m, n)) == 0


def test_whole_blocks_store_twice_what_steers():
    stored, free = boft(768, 768, 1, 8), boft_free(768, 768, 1, 8)
    assert (stored - 768) / free == pytest.approx(2 * 8 / 7)
    assert boft_free(768, 768, 1, 16) == oft(768, 768, block=16)
    assert math.isclose(boft(768, 768, 3, 8) - 768, 3 * (stored - 768))
