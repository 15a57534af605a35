"""How a child ends that is asked to end: one that is done all the same has ended well."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The child ends when it is asked to: a pod that is evicted just as its run is over. Were that no
# success, its replacement would wait for pods that have succeeded and are gone.
PROGRAM = """
import os, signal, sys
from sid_trainer.launch import processes

processes.take_charge()
reading, writing = os.pipe()
os.set_inheritable(reading, True)
child = processes.start(["/bin/sh", "-c", f"read line <&{reading}; exit {sys.argv[1]}"], os.environ)
os.kill(os.getpid(), signal.SIGTERM)

def ask():
    os.write(writing, b"end\\n")
    return 30.0

try:
    print(processes.wait_for(child, 5.0, ask))
except processes.Terminated:
    print("terminated")
"""


@pytest.mark.parametrize(("code", "told"), [(0, "0"), (143, "terminated"), (1, "terminated")])
def test_success_stays_success(code: int, told: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == told
