"""The builders: how pods reach the store, and with which credentials."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sid_operator.resources.cleanup import cleanup_hash, cleanup_job
from sid_operator.resources.config_map import config_map
from sid_operator.resources.job import job
from sid_operator.resources.metadata import run_hash
from sid_trainer.config import RunConfig
from tests.unit.operator import world
from tests.unit.operator.built import ALL_SET, container, pod_spec


def test_credentials_come_from_secrets_only() -> None:
    secrets = {
        entry["name"]: tuple(entry["valueFrom"]["secretKeyRef"].values())
        for entry in container(**ALL_SET)["env"]
        if "secretKeyRef" in entry.get("valueFrom", {})
    }
    assert secrets == {
        "AWS_ACCESS_KEY_ID": ("credentials", "accessKey"),
        "AWS_SECRET_ACCESS_KEY": ("credentials", "secretKey"),
        "AWS_SESSION_TOKEN": ("credentials", "sessionToken", True),
        "HF_TOKEN": ("hub", "token"),
    }
    names = {entry["name"] for entry in container()["env"]}
    assert "HF_TOKEN" not in names


RUN_HASH, CLEANUP_HASH = "fc55eba30d006fb1", "9b5d38a423552b5c"
BY_ROLE: dict[str, Any] = {
    "checkpoint": {"bucket": "sid", "prefix": "runs", "serviceAccountName": "trainer"}
}


@pytest.mark.parametrize("build", [job, cleanup_job])
def test_a_role_takes_the_place_of_the_secret_and_changes_nothing_else(build: Any) -> None:
    by_secret, by_role = (
        build(world.run(**spec))["spec"]["template"]["spec"] for spec in ({}, BY_ROLE)
    )
    assert by_role.pop("serviceAccountName") == "trainer"
    assert by_role["automountServiceAccountToken"] is False
    (container,), (other,) = by_role["containers"], by_secret["containers"]
    assert [entry for entry in other["env"] if entry not in container["env"]] == [
        entry for entry in other["env"] if entry["name"].startswith("AWS_")
    ]
    other["env"] = container["env"]
    assert by_role == by_secret


def test_other_credentials_are_another_job_and_keys_of_a_secret_the_same_as_ever() -> None:
    """The hashes that are in runs and clean-up Jobs which were made before there were roles."""
    runs = [world.run(), world.run(**BY_ROLE)]
    assert len({run_hash(run) for run in runs}) == len({cleanup_hash(run) for run in runs}) == 2
    training = world.raw()["spec"]["training"]
    stored = world.run(training=training | {"learningRate": 2e-6})  # the default then
    assert (run_hash(stored), cleanup_hash(stored)) == (RUN_HASH, CLEANUP_HASH)


CHECKPOINT = {
    "bucket": "sid",
    "endpoint": "https://minio.minio:9000",
    "secretRef": {"name": "credentials"},
}


def test_the_trainer_is_told_of_the_s3_server() -> None:
    changes = {
        "region": "eu-central-1",
        "addressing": "virtual",
        "caBundleRef": {"name": "authorities"},
    }
    text = config_map(world.run(checkpoint=CHECKPOINT | changes))["data"]["config.yaml"]
    told = RunConfig.model_validate(yaml.safe_load(text)).storage
    assert (told.endpoint, told.region, told.addressing, told.ca_bundle) == (
        "https://minio.minio:9000",
        "eu-central-1",
        "virtual",
        "/etc/sid-ca/ca.crt",
    )


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_the_ca_bundle_is_one_file_mounted_read_only(kind: str) -> None:
    ref = {"kind": kind, "name": "authorities", "key": "internal.pem"}
    changes = {"checkpoint": CHECKPOINT | {"caBundleRef": ref}, "deletionPolicy": "Delete"}
    items = [{"key": "internal.pem", "path": "ca.crt"}]
    source = {
        "ConfigMap": {"configMap": {"name": "authorities", "items": items}},
        "Secret": {"secret": {"secretName": "authorities", "items": items}},
    }[kind]
    cleanup = cleanup_job(world.run(**changes))["spec"]["template"]["spec"]
    for pod in (pod_spec(**changes), cleanup):
        assert {"name": "ca-bundle", **source} in pod["volumes"]
        mount = {"name": "ca-bundle", "mountPath": "/etc/sid-ca", "readOnly": True}
        assert mount in pod["containers"][0]["volumeMounts"]
    arguments = cleanup["containers"][0]["args"]
    assert arguments[-2:] == ["--ca-bundle", "/etc/sid-ca/ca.crt"]


def test_without_a_ca_bundle_nothing_is_mounted() -> None:
    assert not [volume for volume in pod_spec()["volumes"] if volume["name"] == "ca-bundle"]
    assert "volumes" not in cleanup_job(world.run())["spec"]["template"]["spec"]
