#!/usr/bin/env bash
# Makes the virtual environment given as the first argument: Python packages at the versions of
# constraints.txt, the project itself editable. Installs Debian's venv module where it is missing.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "setup: Python 3.11 or newer is needed; '$python' is $("$python" --version). Set PYTHON." >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "setup: installing python3-venv"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
fi

started=$SECONDS
echo "setup: installing Python packages into $venv (about 5 GB unpacked; torch is the largest)"
[[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" -c constraints.txt -e '.[dev]'
echo "setup: done in $((SECONDS - started)) s"
