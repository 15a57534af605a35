"""Prints what an image installs before the code: python3 requirements.py PYPROJECT EXTRA.

One requirement a line: the distribution's own dependencies, those of the extra, and the build
backend, with which the code is installed later without asking a registry again.
"""

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: str, extra: str) -> list[str]:
    """The requirements in the text of a pyproject.toml."""
    content = tomllib.loads(pyproject)
    project = content["project"]
    return [
        *content["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"][extra],
    ]


if __name__ == "__main__":
    file, wanted = sys.argv[1:]
    sys.stdout.write("\n".join(requirements(Path(file).read_text(), wanted)) + "\n")
