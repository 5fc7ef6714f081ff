"""Kubernetes' quantities as numbers, and numbers as quantities that a person reads."""

import re
from decimal import ROUND_FLOOR, Decimal

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(
    r"(?P<number>[0-9]{1,30}(\.[0-9]{0,30})?)(?P<unit>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}

GIBIBYTE = Decimal(2**30)
MEBIBYTE = Decimal(2**20)


def amount(text: str) -> Decimal:
    """The number that a quantity means: cores, bytes or pieces; none is below 0.

    Raises:
        ValueError: the text is no quantity.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(text)
    number, unit = Decimal(found["number"]), found["unit"] or ""
    if unit in _BINARY:
        return number * _BINARY[unit]
    if unit in _DECIMAL:
        return number.scaleb(_DECIMAL[unit])
    return number.scaleb(int(unit[1:])) if unit else number


def cores(number: Decimal) -> str:
    """An amount of CPU, such as "2" or "1.93", rounded down to hundredths."""
    return _plain(number, "0.01")


def memory(number: Decimal) -> str:
    """An amount of memory, such as "62.8Gi", rounded down to tenths; in Mi below one Gi."""
    if number < GIBIBYTE:
        return _plain(number / MEBIBYTE, "1") + "Mi"
    return _plain(number / GIBIBYTE, "0.1") + "Gi"


def _plain(number: Decimal, step: str) -> str:
    text = f"{number.quantize(Decimal(step), rounding=ROUND_FLOOR):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
