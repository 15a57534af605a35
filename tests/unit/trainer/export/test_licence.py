"""What is told of a teacher's licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from sid_trainer.export.licence import licence_of


@pytest.mark.parametrize(
    ("readme", "licence", "told", "forbids"),
    [
        (
            "---\nlicense: other\nlicense_name: flux-1-dev-non-commercial-license\n---\n# x",
            "FLUX.1 [dev] Non-Commercial License\n",
            {"license": "other", "license_name": "flux-1-dev-non-commercial-license"},
            True,
        ),
        (
            "---\nlicense: other\nlicense_name: stabilityai-ai-community\n---\n",
            "\nSTABILITY AI COMMUNITY LICENSE AGREEMENT\nNon-Commercial or Commercial purpose\n",
            {"license": "other", "license_name": "stabilityai-ai-community"},
            False,
        ),
        ("---\nlicense: cc-by-nc-4.0\n---\n", None, {"license": "cc-by-nc-4.0"}, True),
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n", None, {"license": "apache-2.0"}, False),
        ("---\nbroken: [\n---\n", None, {}, False),
        ("no front matter", None, {}, False),
        (None, None, {}, False),
    ],
)
def test_the_licence_is_what_the_teacher_says(
    tmp_path: Path, readme: str | None, licence: str | None, told: dict[str, str], forbids: bool
) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    if licence is not None:
        (tmp_path / "LICENSE.md").write_text(licence)
    found = licence_of(tmp_path)
    assert found.front_matter == told
    assert found.non_commercial is forbids
    assert [file.name for file in found.files] == (["LICENSE.md"] if licence else [])
