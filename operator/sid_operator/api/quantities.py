"""Amounts as Kubernetes writes them: what is one, and how much it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

QUANTITY_PATTERN = r"^([0-9]+|[0-9]*\.[0-9]+|[0-9]+\.)([eE][+-]?[0-9]{1,2}|[munkMGTPE]|[KMGTPE]i)?$"
_SUFFIXES = {
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("num", start=-3)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(["", "k", *"MGTPE"])},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}


def _number_as_text(value: object) -> object:
    whole_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole_number else value


def amount(quantity: str) -> int:
    """What a quantity is, in whole numbers.

    >>> amount("64Gi"), amount("1.5k"), amount("2e3")
    (68719476736, 1500, 2000)
    """
    number = quantity.rstrip("".join(_SUFFIXES))
    return int(Decimal(number) * _SUFFIXES[quantity.removeprefix(number)])


Quantity = Annotated[
    str,
    BeforeValidator(_number_as_text),
    Field(max_length=32, pattern=QUANTITY_PATTERN),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 0,  # of numbers; the rest is for texts
            "maxLength": 32,
            "pattern": QUANTITY_PATTERN,
        }
    ),
]
"""An amount as Kubernetes writes it (``500m``, ``64Gi``, ``8``)."""
