"""The spec: what is taken, what is refused, and how it becomes the trainer's configuration."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sid_operator.api import fields, names, quantities
from sid_operator.api.render import run_config, storage_uri
from sid_operator.api.spec import ONE_IDENTITY, SiDDistillationSpec
from sid_trainer.config import RunConfig, TrainerSections

REPOSITORY = Path(__file__).resolve().parents[3]
SPEC: dict[str, Any] = {
    "teacher": {"model": "organisation/model", "tokenSecretRef": {"name": "hub-token"}},
    "data": {"prompts": {"uri": "s3://sid/prompts.txt"}, "resolution": 512},
    "training": {"iterations": 40, "batchSize": 32, "microBatchSize": 2},
    "deepspeed": {"config": {"zero_optimization": {"reduce_bucket_size": 1}}},
    "checkpoint": {
        "endpoint": "http://minio.minio:9000",
        "bucket": "sid",
        "prefix": "team/runs",
        "secretRef": {"name": "s3-credentials"},
        "everyIterations": 7,
    },
    "workers": {"nodes": 2, "gpusPerNode": 4},
}


def spec(**sections: dict[str, Any]) -> SiDDistillationSpec:
    changed = copy.deepcopy(SPEC)
    for name, values in sections.items():
        changed[name] = {**changed.get(name, {}), **values}
    return SiDDistillationSpec.model_validate(changed)


def test_rendered_configuration() -> None:
    config = run_config(spec(), "research", "fox")
    assert config.name == "fox"
    assert config.teacher.model == "organisation/model"
    assert config.storage.uri == "s3://sid/team/runs/research/fox"
    assert config.storage.endpoint == "http://minio.minio:9000"
    assert config.checkpoint.every_iterations == 7
    assert config.launch.model_dump() == {
        "nodes": 2,
        "processes_per_node": 4,
        "device": "cuda",
        "rendezvous_host": "fox-0.fox",
        "peers_host": "fox",
        "rendezvous_port": 29500,
        "progress_host": "0.0.0.0",  # noqa: S104
        "progress_port": 9400,
        "grace_seconds": 120,
    }


def test_shared_sections_are_rendered_unchanged() -> None:
    source = spec()
    config = run_config(source, "research", "fox")
    for section in TrainerSections.model_fields:
        assert getattr(config, section) == getattr(source, section)


def test_rendered_file_is_read_back_by_the_trainer_and_names_no_secret() -> None:
    config = run_config(spec(), "research", "fox")
    text = yaml.safe_dump(config.model_dump(by_alias=True, exclude_none=True, mode="json"))
    assert RunConfig.model_validate(yaml.safe_load(text)) == config
    assert "hub-token" not in text
    assert "s3-credentials" not in text


def test_no_gpus_is_one_process_a_pod_on_the_cpu() -> None:
    launch = run_config(spec(workers={"gpusPerNode": 0}), "research", "fox").launch
    assert (launch.device, launch.processes_per_node, launch.world_size) == ("cpu", 1, 2)


@pytest.mark.parametrize(
    "identities",
    [
        {"secretRef": None},
        {"serviceAccountName": "trainer"},
    ],
)
def test_the_bucket_is_opened_in_one_way(identities: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=re.escape(ONE_IDENTITY)):
        spec(checkpoint=identities)
    by_role = spec(checkpoint={"secretRef": None, "serviceAccountName": "trainer"})
    assert run_config(by_role, "research", "fox") == run_config(spec(), "research", "fox")


def test_without_prefix_the_run_lies_at_the_top_of_the_bucket() -> None:
    checkpoint = spec(checkpoint={"prefix": None}).checkpoint
    assert storage_uri(checkpoint, "research", "fox") == "s3://sid/research/fox"


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"batchSize": 12, "microBatchSize": None}, "use 16"),
        ({"microBatchSize": 3}, "does not divide the 4 images"),
    ],
)
def test_batch_that_does_not_divide_is_not_rendered(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        run_config(spec(training=training), "research", "fox")


@pytest.mark.parametrize(
    "sections",
    [
        {"workers": {"nodez": 2}},
        {"workers": {"hostNetwork": True}},
        {"workers": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}},
        {"runPolicy": {"ttlSecondsAfterFinished": -1}},
        {"workers": {"gpusPerNode": -1}},
        {"training": {"images": 10}},
    ],
)
def test_unknown_fields_and_contradictions_are_refused(sections: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**sections)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fields.DnsLabel, ["a", "a-1"], ["", "-a", "A", "a.b", "a\n", "a" * 51]),
        (fields.ObjectName, ["a", "a.b-c"], ["", ".a", "a/", "../a", "a b"]),
        (fields.LabelValue, ["a", "A_b.c"], ["", "-a", "a b", "a" * 64]),
        (fields.SelectorValue, ["", "A_b.c"], ["-a", "a b", "a" * 64]),
        (fields.QualifiedName, ["cpu", "nvidia.com/gpu.product"], ["", "/a", "a/b/c", "a b"]),
        (fields.ImageName, ["a", "h:5000/a/b:c@sha256:0"], ["", "http://a b", " a", "-a"]),
        (
            fields.ExtendedResource,
            ["", "nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu", "a/B_c.d"],
            [
                *("cpu", "gpu", "/gpu", "a/b/c", "a b/c", "hugepages-2Mi", "nvidia.com/gpu\n"),
                *("kubernetes.io/gpu", "x.kubernetes.io/gpu", "requests.nvidia.com/gpu"),
            ],
        ),
        (
            fields.MetadataKey,
            [
                "team",
                "scheduling.x-k8s.io/pod-group",
                "scheduling.k8s.io/group-name",
                "cluster-autoscaler.kubernetes.io/safe-to-evict",
                "k8s.v1.cni.cncf.io/networks",
            ],
            [
                "sid-dit.dev/distillation",
                "x.sid-dit.dev/a",
                "batch.kubernetes.io/job-name",
                "kueue.x-k8s.io/queue-name",
                "app.kubernetes.io/name",
                "container.apparmor.security.beta.kubernetes.io/trainer",
                "kubernetes.io/x",
                "job-name",
                "/a",
                "a b",
            ],
        ),
        (
            fields.VariableName,
            ["NCCL_DEBUG", "HF_ENDPOINT", "_a1", "HTTPS_PROXY", "HOMES", "SID_CACHE"],
            ["", "1A", "A-B", "A B", "AWS_CA_BUNDLE", "SID_GANG", "HF_TOKEN", "HOME", "RANK"],
        ),
        (fields.Bucket, ["sid", "a.b-c"], ["ab", "s3://sid", "a/b", "A-b", "-ab"]),
        (
            fields.KeyPrefix,
            ["a", "a/b.c/_d"],
            ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "a b"],
        ),
        (fields.Endpoint, ["http://h:9000", "https://h/"], ["h:1", "http://u:p@h", "http://h/p"]),
        (
            fields.MountPath,
            ["/mnt/a", "/data", "/etcetera"],
            ["/", "mnt", "/mnt/", "/mnt/../etc", "/etc", "/etc/sid", "/dev/shm", "/mnt/a b"],
        ),
        (
            quantities.Quantity,
            ["8Gi", "500m", "1.5", "2e9", 4],
            ["", "8 Gi", "8gi", "-1", 0.5, True],
        ),
    ],
)
def test_field_types(kind: Any, good: list[Any], bad: list[Any]) -> None:
    adapter = TypeAdapter(kind)
    for value in good:
        assert adapter.validate_python(value) == str(value)
    for value in bad:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


@given(st.text(max_size=40))
def test_accepted_prefix_stays_below_the_bucket(prefix: str) -> None:
    """No accepted prefix has an empty segment or one that climbs."""
    try:
        TypeAdapter(fields.KeyPrefix).validate_python(prefix)
    except ValidationError:
        return
    assert all(segment not in ("", ".", "..") for segment in prefix.split("/"))
    assert prefix.isprintable()


def test_names_of_pods_are_dns_labels_for_the_longest_name_and_index() -> None:
    longest = "n" * names.MAX_NAME_LENGTH
    assert len(names.pod_hostname(longest, 1023)) <= 63
    assert len(names.claim_volume_name("v" * 50)) <= 63


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "examples").glob("*.yaml")), ids=lambda path: path.stem
)
def test_example_is_valid_and_can_be_rendered(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if document.get("kind") != names.KIND:
            continue
        assert document["apiVersion"] == names.API_VERSION
        parsed = SiDDistillationSpec.model_validate(document["spec"])
        name = document["metadata"]["name"]
        processes = parsed.workers.nodes * max(parsed.workers.gpus_per_node, 1)
        assert run_config(parsed, "default", name).launch.world_size == processes
