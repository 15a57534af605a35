"""``make demo``: distils a small, really trained teacher on a cluster, and shows the result.

The steps: make (or take from the cache) the digits teacher, put it and its prompts into MinIO,
apply ``examples/distill-digits.yaml``, watch it as a user would, fetch the student, load it with
stock diffusers, and judge it. A failed run ends with what ``kubectl describe`` says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from sid_trainer.digits.cache import cached_teacher
from tests.cluster import kubectl, objects
from tests.cluster.kubectl import REPOSITORY

NAMESPACE = "sid-demo"
EXAMPLE = REPOSITORY / "examples" / "distill-digits.yaml"
OUTPUT = REPOSITORY / ".dev" / "demo"
DEADLINE_SECONDS = 1500
STARTED = time.monotonic()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what begins, and how long it took."""
    print(f"\n==> {what}", flush=True)
    started = time.monotonic()
    yield
    now = time.monotonic()
    print(f"    {now - started:.0f} s (since the start {now - STARTED:.0f} s)", flush=True)


def put_inputs(store: objects.Objects, teacher: Path, prefix: str) -> None:
    """Upload teacher and prompts, and remove what an earlier demo wrote."""
    removed = store.remove_folder(prefix)
    if removed:
        print(
            f"    removed {removed} objects of an earlier demo below s3://{store.bucket}/{prefix}"
        )
    count = store.upload_folder(teacher, "teachers/digits")
    store.upload_file(REPOSITORY / "examples" / "digits-prompts.txt", "prompts/digits.txt")
    print(f"    teacher ({count} files) at s3://{store.bucket}/teachers/digits")
    print(f"    prompts at s3://{store.bucket}/prompts/digits.txt")


def apply_example(name: str) -> None:
    """Create the resource anew in the demo's namespace."""
    kubectl.kubectl("delete", "sid", name, "-n", NAMESPACE, "--ignore-not-found", "--wait")
    print(f"    kubectl apply -n {NAMESPACE} -f {EXAMPLE.relative_to(REPOSITORY)}")
    kubectl.kubectl("apply", "-n", NAMESPACE, "-f", str(EXAMPLE))


def watch(name: str) -> dict[str, Any]:
    """Show ``kubectl get sid -w`` until Complete or Failed; returns the resource."""
    shown = subprocess.Popen(
        [kubectl.binary("kubectl"), "get", "sid", name, "-n", NAMESPACE, "-w"],
        env=kubectl.environment(),
    )

    def ended() -> dict[str, Any] | None:
        resource = kubectl.get("sid", name, "-n", NAMESPACE)
        done = kubectl.is_true(resource, "Complete") or kubectl.is_true(resource, "Failed")
        return resource if done else None

    try:
        return kubectl.wait_until(f"{name} is Complete", ended, seconds=DEADLINE_SECONDS, every=2.0)
    finally:
        shown.terminate()
        shown.wait()


def show_failure(name: str) -> None:
    """Print what a user would look at next."""
    print(kubectl.kubectl("describe", "sid", name, "-n", NAMESPACE))
    print(kubectl.kubectl("get", "pods", "-n", NAMESPACE, "-o", "wide"))
    selector = f"sid-dit.dev/distillation={name}"
    print(kubectl.kubectl("logs", "-n", NAMESPACE, "-l", selector, "--tail=40", "--prefix"))


def show_events(name: str) -> None:
    """Print the resource's events, oldest first."""
    print(
        kubectl.kubectl("events", "-n", NAMESPACE, "--for", f"siddistillation.sid-dit.dev/{name}")
    )


def fetch_results(store: objects.Objects, prefix: str) -> Path:
    """Download student and sample pictures; returns the student's folder."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    store.download_folder(f"{prefix}/samples", OUTPUT / "samples")
    files = store.download_folder(f"{prefix}/student", OUTPUT / "student")
    print(f"    student ({len(files)} files) in {relative(OUTPUT / 'student')}")
    print(f"    sample pictures in {relative(OUTPUT / 'samples')}")
    return OUTPUT / "student"


def compare(teacher: Path, student: Path) -> Path:
    """Draw teacher and student side by side, with stock diffusers alone."""
    picture = OUTPUT / "teacher-and-student.png"
    subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            str(REPOSITORY / "examples" / "compare.py"),
            "--teacher",
            str(teacher),
            "--student",
            str(student),
            "--output",
            str(picture),
        ],
        check=True,
        cwd=OUTPUT,
    )
    return picture


def judge(teacher: Path, student: Path) -> int:
    """Print Frechet distances and accuracy; returns 0 when the student passes the gate."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "sid_trainer",
            "digits",
            "evaluate",
            "--teacher",
            str(teacher),
            "--student",
            str(student),
            "--json",
            str(OUTPUT / "evaluation.json"),
        ],
        check=False,
    ).returncode


def relative(path: Path) -> str:
    """The path as a user in the checkout would type it."""
    return str(path.relative_to(REPOSITORY))


def storage_prefix(manifest: dict[str, Any]) -> str:
    """Key prefix under which the run of ``manifest`` writes."""
    prefix = manifest["spec"]["checkpoint"].get("prefix", "")
    return "/".join(filter(None, [prefix, NAMESPACE, manifest["metadata"]["name"]]))


def main() -> int:
    """Run the demo; returns the exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    manifest = yaml.safe_load(EXAMPLE.read_text())
    name, prefix = manifest["metadata"]["name"], storage_prefix(manifest)
    with step("The teacher: a small SD3 trained on 8x8 pictures of digits"):
        teacher = cached_teacher()
    with step("Teacher and prompts into MinIO"), objects.connect() as store:
        objects.copy_credentials(NAMESPACE)
        put_inputs(store, teacher, prefix)
    with step("Distillation on the cluster"):
        apply_example(name)
        resource = watch(name)
    with step("Its events"):
        show_events(name)
    if kubectl.is_true(resource, "Failed"):
        show_failure(name)
        return 1
    with step("The student"), objects.connect() as store:
        student = fetch_results(store, prefix)
    with step("Teacher and student side by side, by stock diffusers"):
        picture = compare(teacher, student)
    with step("Quality"):
        code = judge(teacher, student)
    print(f"\nStudent in the cluster: {resource['status']['student']['uri']}")
    print(f"Picture to look at:     {relative(picture)}")
    print(f"Numbers:                {relative(OUTPUT / 'evaluation.json')}")
    print(f"The resource:           kubectl get sid -n {NAMESPACE}")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (kubectl.CommandError, TimeoutError) as error:
        sys.exit(f"demo: {error}")
