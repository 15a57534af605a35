"""A rule that the API server enforces, as it stands in the CRD."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A CEL rule at ``path`` (dotted, ``[]`` for the items of a list).

    ``field`` is where, below ``path``, the error is reported. Messages are static: the API server
    counts ``string(...)`` in a message expression as unbounded and refuses the CRD.
    """

    path: str
    rule: str
    message: str
    field: str = ""

    def as_validation(self) -> dict[str, str]:
        """The entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.rule, "message": self.message}
        if self.field:
            entry["fieldPath"] = f".{self.field}"
        return entry
