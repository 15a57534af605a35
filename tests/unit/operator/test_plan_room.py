"""Condition FitsMemory: the run's need against the GPUs of the nodes that its pods may get."""

from __future__ import annotations

from typing import Any

import pytest

from sid_operator import reasons
from sid_operator.api.workers import RoomCheck
from sid_operator.plan.decide import plan
from sid_operator.plan.model import Plan, status_json
from sid_operator.plan.nodes import GpuNode, Nodes, gpu_node, open_to
from sid_operator.plan.resource import resource_of
from sid_operator.resources.metadata import policy_hash, run_hash
from sid_operator.resources.run import Installed
from tests.unit.operator import world
from tests.unit.operator.world import NOW

FLUX = "black-forest-labs/FLUX.1-dev"
WORKERS: dict[str, Any] = {"gpusPerNode": 8, "image": world.IMAGE}
ON_GPUS: dict[str, Any] = {
    "teacher": {"model": FLUX},
    "training": {"iterations": 500, "batchSize": 256, "microBatchSize": 1},
    "workers": WORKERS,
}
"""Needs 77.4 GiB a GPU at 1024 px, as docs/memory.md says."""


def node(
    memory: object = 81559, gpus: int = 8, taints: tuple[dict[str, str], ...] = (), **labels: str
) -> dict[str, Any]:
    """A node as the API server has it; an underscore in a label's name stands for a dot."""
    told = {name.replace("_", "."): value for name, value in labels.items()}
    return {
        "metadata": {"name": "n", "labels": {"nvidia.com/gpu.memory": str(memory)} | told},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}},
    }


def nodes(*objects: dict[str, Any]) -> Nodes:
    read = [gpu_node(one) for one in objects]
    assert None not in read
    return Nodes(tuple(one for one in read if one is not None))


def planned(
    seen: Nodes,
    *,
    status: Any = None,
    job: bool = False,
    default: RoomCheck = "Hold",
    **spec: Any,
) -> Plan:
    sections = ON_GPUS | spec
    of = world.run(**sections)
    observed = world.observed(of, nodes=seen, job=world.job(of) if job else None)
    resource = resource_of(world.raw(status, **sections), Installed(room_check=default))
    return plan(resource, observed, NOW)


def fits(of: Plan) -> tuple[str, str, str]:
    """Status, reason and message of the condition."""
    found = next(c for c in of.status.conditions if c.type == "FitsMemory")
    return found.status, found.reason, found.message


def makes_a_job(of: Plan) -> bool:
    return any(action.kind.name == "Job" for action in of.actions)


H100, A100_40, T4 = node(81559), node(40960), node(15360)


@pytest.mark.parametrize(
    ("seen", "status", "reason", "told", "starts"),
    [
        (
            [H100],
            "True",
            "FitsBarely",
            ["77.4 GiB", "79.6 GiB", "2.3 GiB to spare", "little"],
            True,
        ),
        ([node(143771)], "True", "Fits", ["has 140.4 GiB: 63.0 GiB to spare."], True),
        ([node(143771), H100], "True", "FitsBarely", ["has 79.6 GiB"], True),
        ([H100, A100_40], "Unknown", "DependsOnNode", ["79.6", "not 40.0 GiB"], True),
        # Estimated 77.4, sure of 71.2: 72 GiB may do.
        ([node(73728)], "False", "MayNotFit", ["72.0 GiB: 5.4 GiB too little", "goes on"], True),
        ([A100_40], "False", "TooLargeForGPUs", ["40.0 GiB", "is held"], False),
        ([T4, A100_40], "False", "TooLargeForGPUs", ["40.0 GiB: 37.4"], False),
        ([], "Unknown", "GPUsUnknown", ["77.4 GiB", "nvidia.com/gpu.memory"], True),
        ([node(gpus=4)], "Unknown", "GPUsUnknown", ["workers.gpusPerNode"], True),
    ],
)
def test_the_need_is_compared_with_the_gpus(
    seen: list[Any], status: str, reason: str, told: list[str], starts: bool
) -> None:
    made = planned(nodes(*seen))
    assert fits(made)[:2] == (status, reason)
    for words in told:
        assert words in fits(made)[2]
    assert makes_a_job(made) is starts


def test_a_message_fits_into_an_event() -> None:
    assert len(fits(planned(nodes(A100_40)))[2]) < 1000


def test_what_helps_is_computed() -> None:
    message = fits(planned(nodes(A100_40)))[2]
    # docs/memory.md: 27.5 GiB offloaded; 48 GiB on two nodes is too much, four do.
    assert "deepspeed.offload optimizer (27.5 GiB)" in message
    assert "workers.nodes 4 (" in message
    assert "pure-bf16" not in message  # 52.4 GiB
    pure = "training.precision pure-bf16 with training.learningRate 1e-05 (52.4 GiB)"
    assert pure in fits(planned(nodes(node(60_000))))[2]
    rates = ON_GPUS["training"] | {"learningRate": 3e-5, "fakeLearningRate": 2e-6}
    pure = "with training.learningRate 3e-05 and training.fakeLearningRate 1e-05 (52.4 GiB)"
    assert pure in fits(planned(nodes(node(60_000)), training=rates))[2]
    assert "No single setting" in fits(planned(nodes(node(8_000))))[2]


@pytest.mark.parametrize(
    ("memory", "gpu", "reason"),
    [
        ("768Gi", H100, "FitsBarely"),
        ("64Gi", H100, "TooLargeForHostMemory"),
        ("64000M", node(gpus=4), "TooLargeForHostMemory"),
        ("64Gi", A100_40, "TooLargeForGPUs"),
    ],
)
def test_the_need_is_compared_with_the_limit_of_host_memory(
    memory: str, gpu: dict[str, Any], reason: str
) -> None:
    made = planned(nodes(gpu), workers=WORKERS | {"resources": {"limits": {"memory": memory}}})
    status, told, message = fits(made)
    assert told == reason
    assert ("workers.resources.limits.memory" in message) is (memory != "768Gi")
    if reason == "TooLargeForHostMemory":
        assert status == "False"
        assert makes_a_job(made)
        assert made.notices
    if memory == "64Gi":
        # As docs/memory.md has them, in whole GiB.
        assert "lets it have 64.0: one" in message
        assert "up to 368.7 GiB (snapshot" in message
        assert "on resume: 310.4)" in message


CLAIMS = [{"name": "gpus", "resourceClaimTemplateName": "eight"}]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"gpuResource": "nvidia.com/mig-1g.10gb"}, "ask for nvidia.com/mig-1g.10gb"),
        ({"gpuResource": "", "resourceClaims": CLAIMS}, "ask for devices by claims"),
    ],
)
def test_the_memory_of_other_devices_is_not_known(asked: dict[str, Any], told: str) -> None:
    """The label tells of whole GPUs, and a slice has a part of one."""
    workers = WORKERS | asked
    made = planned(nodes(H100, T4), workers=workers)
    assert fits(made)[:2] == ("Unknown", reasons.GPUS_UNKNOWN)
    assert "77.4 GiB" in fits(made)[2]
    assert told in fits(made)[2]
    assert makes_a_job(made)
    too_little = workers | {"resources": {"limits": {"memory": "64Gi"}}}
    assert fits(planned(nodes(H100), workers=too_little))[1] == reasons.HOST_TOO_SMALL


def test_a_run_on_cpus_has_no_such_condition() -> None:
    made = plan(world.resource(), world.observed(nodes=nodes(T4)), NOW)
    assert not [c for c in made.status.conditions if c.type == "FitsMemory"]


@pytest.mark.parametrize(
    ("teacher", "known"),
    [
        ({"model": "s3://models/mirror/FLUX.1-dev"}, True),
        ({"model": "/mnt/models/flux.1-DEV/"}, True),
        ({"model": "s3://models/our-flux"}, False),
        ({"model": "s3://models/our-flux", "architecture": FLUX}, True),
    ],
)
def test_a_teacher_is_known_by_its_name_or_its_architecture(
    teacher: dict[str, str], known: bool
) -> None:
    status, reason, message = fits(planned(nodes(H100), teacher=teacher))
    expected = ("True", reasons.FITS_BARELY) if known else ("Unknown", reasons.NEED_UNKNOWN)
    assert (status, reason) == expected
    assert known or "teacher.architecture" in message


def test_settings_that_cannot_be_read_are_told_and_the_run_goes_on() -> None:
    config = {"zero_optimization": {"reduce_bucket_size": "auto"}}
    made = planned(nodes(A100_40), deepspeed={"config": config})
    assert fits(made)[:2] == ("Unknown", reasons.NEED_UNKNOWN)
    assert "reduce_bucket_size is 'auto'" in fits(made)[2]
    assert makes_a_job(made)


def test_a_held_run_says_so_once_and_starts_when_there_is_room() -> None:
    held = planned(nodes(A100_40))
    assert held.status.phase == "Pending"
    assert held.status.failure is not None
    assert held.status.failure.reason == reasons.TOO_LARGE
    assert world.told(held)["PodsReady"] == ("False", reasons.TOO_LARGE)
    assert [(n.type, n.reason) for n in held.notices] == [("Warning", reasons.TOO_LARGE)]
    status = status_json(held.status)
    assert planned(nodes(A100_40), status=status).notices == ()
    freed = planned(nodes(A100_40, H100), status=status, workers=WORKERS)
    assert makes_a_job(freed)
    assert freed.status.failure is None


def test_a_warning_takes_the_place_of_the_hold() -> None:
    made = planned(nodes(A100_40), runPolicy={"roomCheck": "Warn"})
    assert makes_a_job(made)
    assert fits(made)[:2] == ("False", reasons.TOO_LARGE)
    assert "held" not in fits(made)[2]
    assert [(n.type, n.reason) for n in made.notices] == [("Warning", reasons.TOO_LARGE)]


@pytest.mark.parametrize(
    ("default", "queue", "wished", "held"),
    [
        ("Hold", None, None, True),
        ("Warn", None, None, False),
        ("Warn", None, "Hold", True),
        ("Hold", "q", None, False),
        ("Hold", "q", "Hold", True),
        ("Warn", "q", "Hold", True),
    ],
)
def test_who_says_whether_a_run_is_held(
    default: RoomCheck, queue: str | None, wished: str | None, held: bool
) -> None:
    """The resource; else a queue, which may have nodes made; else the installation."""
    made = planned(
        nodes(A100_40),
        default=default,
        scheduling={"queueName": queue} if queue else {},
        runPolicy={"roomCheck": wished} if wished else {},
    )
    assert makes_a_job(made) is not held
    assert fits(made)[:2] == ("False", reasons.TOO_LARGE)
    assert ("No autoscaler makes a node" in fits(made)[2]) is held


def test_a_run_that_has_or_had_a_job_is_not_held() -> None:
    going = planned(nodes(A100_40), job=True)
    assert world.told(going)["PodsReady"][1] != reasons.TOO_LARGE
    began = status_json(going.status)
    assert makes_a_job(planned(nodes(A100_40), status=began))


def test_a_suspended_run_that_is_too_large_says_that_it_is_suspended() -> None:
    made = planned(nodes(A100_40), runPolicy={"suspend": True})
    assert not makes_a_job(made)
    assert made.status.phase == "Suspended"
    assert fits(made)[1] == reasons.TOO_LARGE


def test_what_concerns_the_check_alone_leaves_the_pods_alone() -> None:
    before = world.run(**ON_GPUS)
    teacher = {"model": FLUX, "architecture": FLUX}
    after = world.run(**ON_GPUS | {"teacher": teacher, "runPolicy": {"roomCheck": "Warn"}})
    assert run_hash(after) == run_hash(before)
    assert policy_hash(after) == policy_hash(before)


TAINT = {"key": "team", "value": "red", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("found", "workers", "opens"),
    [
        (node(), {}, True),
        (node(gpus=4), {"gpusPerNode": 4}, True),
        (node(gpus=0) | {"status": {}}, {}, False),
        (node(gpus=0, **{"nvidia_com/gpu_count": "8"}), {}, True),
        (node(zone="a"), {"nodeSelector": {"zone": "a"}}, True),
        (node(zone="b"), {"nodeSelector": {"zone": "a"}}, False),
        (node(), {"nodeSelector": {"zone": "a"}}, False),
        (node(), {"nodeAffinity": [{"key": "zone", "values": ["a"]}]}, False),
        (node(zone="a"), {"nodeAffinity": [{"key": "zone", "values": ["a", "b"]}]}, True),
        (node(), {"nodeAffinity": [{"key": "x", "operator": "NotIn", "values": ["a"]}]}, True),
        (
            node(x="a"),
            {"nodeAffinity": [{"key": "x", "operator": "NotIn", "values": ["a"]}]},
            False,
        ),
        (node(x="a"), {"nodeAffinity": [{"key": "x", "operator": "Exists"}]}, True),
        (node(x="a"), {"nodeAffinity": [{"key": "x", "operator": "DoesNotExist"}]}, False),
        (node(x="5"), {"nodeAffinity": [{"key": "x", "operator": "Gt", "values": ["4"]}]}, True),
        (node(x="5"), {"nodeAffinity": [{"key": "x", "operator": "Lt", "values": ["4"]}]}, False),
        (node(x="v"), {"nodeAffinity": [{"key": "x", "operator": "Gt", "values": ["4"]}]}, False),
        (node(taints=(TAINT,)), {}, False),
        (node(taints=(TAINT,)), {"tolerations": [{"key": "team", "value": "red"}]}, True),
        (node(taints=(TAINT,)), {"tolerations": [{"key": "team", "value": "blue"}]}, False),
        (node(taints=(TAINT,)), {"tolerations": [{"operator": "Exists"}]}, True),
        (
            node(taints=(TAINT,)),
            {"tolerations": [{"key": "team", "operator": "Exists", "effect": "NoExecute"}]},
            False,
        ),
        (node(taints=({**TAINT, "effect": "PreferNoSchedule"},)), {}, True),
        (node(taints=({"key": "nvidia.com/gpu", "effect": "NoSchedule"},)), {}, True),
        (
            node(taints=({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},)),
            {},
            True,
        ),
    ],
)
def test_nodes_that_the_pods_may_get(
    found: dict[str, Any], workers: dict[str, Any], opens: bool
) -> None:
    seen = gpu_node(found)
    assert isinstance(seen, GpuNode)
    spec = world.run(**ON_GPUS | {"workers": WORKERS | workers}).spec.workers
    assert bool(open_to(spec, [seen])) is opens


@pytest.mark.parametrize("memory", ["", "many", "-1", "0", "8e4", "9" * 30])
def test_a_label_that_is_no_number_tells_nothing(memory: str) -> None:
    assert gpu_node(node(memory)) is None
