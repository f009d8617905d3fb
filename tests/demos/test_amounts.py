"""Numbers as text."""

import pytest

from wonderland.demos.amounts import minus
from wonderland.demos.words import Claim, Readout, claims_html, readouts_html


@pytest.mark.parametrize(
    ("text", "set_right"),
    [
        ("-0.25", "−0.25"),
        ("1.8e-15", "1.8e−15"),
        ("-45…-3 and -.5", "−45…−3 and −.5"),
        ("error < 1e-10, at -2e-3", "error < 1e−10, at −2e−3"),
        ("T5-Large, Llama-3.2, two-sided, 0-4, line-8", "T5-Large, Llama-3.2, two-sided, 0-4, line-8"),
    ],
)
def test_only_the_sign_of_a_number_is_a_minus(text: str, set_right: str) -> None:
    assert minus(text) == set_right


def test_readouts_and_claims_set_it() -> None:
    assert "<dd>−1.0000</dd>" in readouts_html([Readout("det", "-1.0000")])
    assert "it moved by −3 points</p>" in claims_html([Claim("x", "It stays.", "it moved by -3 points", "fails")])
