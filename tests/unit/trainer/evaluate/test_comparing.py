"""What a metric depends on: values of the same basis are compared."""

from __future__ import annotations

from typing import Any

from sid_trainer.config import MetricsConfig
from sid_trainer.evaluate.comparing import bases

FID = {"features": "/x.pt", "images": {"uri": "/images"}}
SCORER = {"model": "owner/clip"}


def basis(metrics: dict[str, Any], **changes: Any) -> dict[str, str]:
    facts = {
        "compared": ["features", "images"],
        "student": ["seed", 10],
        "teacher": [28, 4.5],
    } | changes
    return bases(MetricsConfig.model_validate(metrics), **facts)


def test_a_metric_has_the_basis_of_what_it_depends_on_alone() -> None:
    alone = basis({"fid": FID, "best": "fid"})
    assert alone.keys() == {"fid"}
    more = basis({"fid": FID | {"teacher": True}, "clipScore": SCORER, "preference": SCORER})
    assert more.keys() == {"fid", "fidTeacher", "clipScore", "preferenceScore"}
    assert more["fid"] == alone["fid"]
    assert len(set(more.values())) == 4
    assert basis({"clipScore": SCORER})["clipScore"] == more["clipScore"]
    sampled = basis({"fid": FID | {"teacher": True}}, teacher=[50, 4.5])
    assert sampled["fid"] == alone["fid"]
    assert sampled["fidTeacher"] != more["fidTeacher"]
    others = (
        basis({"fid": FID | {"imageSize": 299}}),
        basis({"fid": FID}, compared=["features", "others"]),
        basis({"fid": FID}, compared=["others", "images"]),
        basis({"fid": FID}, student=["seed", 20]),
    )
    assert len({alone["fid"], *(other["fid"] for other in others)}) == 5
