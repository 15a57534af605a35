"""Measured numbers that are none: NaN and infinity, of an image or of its features.

Rules this module keeps:

* They are left out and told, on the rank that has them: no file, status or ranking could hold them.
* They do not end a run: the student may be better the next time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

logger = logging.getLogger(__name__)


def finite(whose: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are finite numbers; the others are told as left out.

    Args:
        whose: what was measured, for the log.
        metrics: by name.
    """
    odd = [name for name, value in metrics.items() if not math.isfinite(value)]
    if odd:
        logger.warning(
            "%s: %s is left out, as it is no finite number: some image or its features overflowed",
            whose,
            ", ".join(odd),
        )
    return {name: value for name, value in metrics.items() if name not in odd}
