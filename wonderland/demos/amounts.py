"""Counts, shares and bytes as text, from integers of any size."""

import re
from math import floor, log10

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
# Longer integers are rounded on a picture.
LONGEST = 10**10
_SIGN = re.compile(r"(?:(?<=\de)|(?<!\w))-(?=\.?\d)")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def exact(number: int) -> str:
    """Every digit, in groups of three."""
    return f"{number:,}"


def short(number: int) -> str:
    """Every digit of up to ten, else three and the power of ten."""
    return exact(number) if number < LONGEST else scientific(number)


def plain(value: float) -> str:
    """Two digits, written out: the power of ten stands only below 0.001 and from 100,000."""
    size = abs(value)
    if size >= 1e5:
        text = scientific(value, 1)
    elif size >= 1e-3:
        text = f"{value:,.{max(0, 1 - floor(log10(size)))}f}"
    else:
        text = f"{value:.2g}"
    return minus(text)


def minus(text: str) -> str:
    """The text with each number's own sign for minus in place of the hyphen, at which a line may end."""
    return _SIGN.sub("−", text)


def many(number: int, noun: str) -> str:
    """A number of things: "1 block", "16 blocks"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(part: int, whole: int) -> str:
    """One integer as a percentage of another, to three digits or the nearest whole percent."""
    share = 100 * part / whole
    if 100 <= share < 1e6:
        return f"{share:,.0f}%"
    return f"{share:.3g}%" if 1e-3 < share < 100 or not part else f"{scientific(share)}%"


def reduction(part: int, whole: int) -> str:
    """By how many percent of the whole the part is smaller; never rounded to all of it, or to none where it is more."""
    if not part:
        return "nothing to train"
    if part > whole:
        more = percent(part, whole)
        return f"none: {'just over ' * (more == '100%')}{more}"
    text = f"{100 * (whole - part) / whole:.2f}%"
    return "over 99.99%" if text == "100.00%" else text


def size(number: int) -> str:
    """Bytes in the largest binary unit that leaves a whole one."""
    amount, unit = float(number), 0
    while amount >= 1024 and unit + 1 < len(UNITS):
        amount, unit = amount / 1024, unit + 1
    return f"{amount:,.1f} {UNITS[unit]}" if unit else f"{number} {UNITS[0]}"


def scientific(number: float, decimals: int = 2) -> str:
    """A number as digits times a power of ten."""
    digits, power = f"{number:.{decimals}e}".split("e")
    return f"{digits}×10{str(int(power)).translate(_RAISED)}"
