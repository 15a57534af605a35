"""The scales of guidance that settings mean."""

from __future__ import annotations

import pytest

from sid_trainer.config import GuidanceConfig, TeacherSamplingConfig
from sid_trainer.method.guidance_scales import GuidanceScales, guidance_scales, sampling_scale


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("LSG", GuidanceScales(4.5, 4.5, 4.5)),
        ("ZeroCFG", GuidanceScales(0.0, 0.0, 1.0)),
        ("AntiCFG", GuidanceScales(-4.5, -4.5, 1.0)),
    ],
)
def test_guidance_scales(strategy: str, expected: GuidanceScales) -> None:
    config = GuidanceConfig.model_validate({"strategy": strategy, "scale": 4.5})
    assert guidance_scales(config) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"fakeTrainingScale": 1.0}, GuidanceScales(1.0, 4.5, 4.5)),
        ({"fakeScale": -2.0}, GuidanceScales(4.5, -2.0, 4.5)),
        ({"teacherScale": 0.0}, GuidanceScales(4.5, 4.5, 0.0)),
        ({"strategy": "ZeroCFG", "teacherScale": 3.0}, GuidanceScales(0.0, 0.0, 3.0)),
        ({"strategy": "AntiCFG", "scale": 2.0, "fakeScale": 1.0}, GuidanceScales(-2.0, 1.0, 1.0)),
    ],
)
def test_scales_that_are_given_one_by_one(
    given: dict[str, object], expected: GuidanceScales
) -> None:
    assert guidance_scales(GuidanceConfig.model_validate(given)) == expected


@pytest.mark.parametrize(
    "unused",
    [
        {"strategy": "ZeroCFG"},
        {"strategy": "AntiCFG", "fakeTrainingScale": 1.0, "fakeScale": 1.0},
        {"fakeTrainingScale": 1.0, "fakeScale": 1.0, "teacherScale": 1.0},
    ],
)
def test_a_scale_that_nothing_uses_is_refused(unused: dict[str, object]) -> None:
    assert GuidanceConfig.model_validate(unused).scale == 4.5
    with pytest.raises(ValueError, match=r"guidance\.scale 2\.0 is not used.*remove it"):
        GuidanceConfig.model_validate({**unused, "scale": 2.0})


@pytest.mark.parametrize(
    ("guidance", "expected"),
    [
        ({}, 4.5),
        ({"scale": 7.0}, 7.0),
        ({"scale": 1.0}, 1.0),
        ({"scale": 7.0, "teacherScale": 3.0}, 3.0),
        ({"scale": 7.0, "teacherScale": 1.0}, 7.0),
        ({"teacherScale": 7.0, "fakeScale": 7.0, "fakeTrainingScale": 1.0}, 7.0),
        ({"teacherScale": 1.0, "fakeScale": -1.5, "fakeTrainingScale": -1.5}, 4.5),
        ({"strategy": "AntiCFG", "scale": 1.5}, 4.5),
        ({"strategy": "AntiCFG", "scale": 1.5, "teacherScale": 3.0}, 3.0),
        ({"strategy": "AntiCFG", "scale": 1.5, "teacherScale": -1.0}, 4.5),
        ({"strategy": "ZeroCFG"}, 4.5),
        ({"strategy": "ZeroCFG", "teacherScale": 3.0}, 3.0),
    ],
)
def test_the_teacher_is_sampled_with_a_scale_that_is_its_own(
    guidance: dict[str, object], expected: float
) -> None:
    config = GuidanceConfig.model_validate(guidance)
    assert sampling_scale(TeacherSamplingConfig(), config) == expected
    assert sampling_scale(TeacherSamplingConfig(guidance=2.0), config) == 2.0
    assert sampling_scale(TeacherSamplingConfig(guidance=0.0), config) == 0.0
