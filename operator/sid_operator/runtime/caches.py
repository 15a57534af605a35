"""The stores of all kinds, and what planning sees in them."""

from __future__ import annotations

from collections.abc import Mapping

from sid_operator.api.names import ANNOTATION_CONTENT, ANNOTATION_HASH
from sid_operator.kube.kinds import CONFIG_MAPS, DISTILLATIONS, JOBS, PODS, SERVICES, Kind, Object
from sid_operator.plan.ending import is_over_as_held
from sid_operator.plan.gang import rank_zero
from sid_operator.plan.jobs import Cleanup, cleanup_of, is_cleanup, job_of
from sid_operator.plan.model import Child, Observed, Resource, Stray
from sid_operator.plan.objects import is_leaving, owned_by, owner_of
from sid_operator.plan.pods import has_ended, pod_of
from sid_operator.runtime import trim
from sid_operator.runtime.nodes import NodeStore
from sid_operator.runtime.scraper import Scraper
from sid_operator.runtime.store import Key, Store, key_of, owner_by_label, owner_of_pod


class Caches:
    """One store a kind."""

    def __init__(self) -> None:
        self.resources = Store(trim=trim.trim_resource, owner=key_of)
        self.config_maps = Store(trim=trim.trim_child, owner=owner_by_label)
        self.services = Store(trim=trim.trim_child, owner=owner_by_label)
        self.jobs = Store(trim=trim.trim_job, owner=owner_by_label)
        self.pods = Store(trim=trim.trim_pod, owner=owner_of_pod, keep_gone=True)
        self.nodes = NodeStore()

    def by_kind(self) -> dict[Kind, Store]:
        """The stores with the kinds that they hold; resources come first."""
        return {
            DISTILLATIONS: self.resources,
            CONFIG_MAPS: self.config_maps,
            SERVICES: self.services,
            JOBS: self.jobs,
            PODS: self.pods,
        }

    def unfinished_on_gpus(self) -> list[Key]:
        """The resources that ask for GPUs and are not over."""
        return [
            key_of(obj)
            for obj in self.resources.all()
            if not is_over_as_held(obj["status"])
            and (obj["spec"].get("workers") or {}).get("gpusPerNode") != 0
        ]

    def put(self, kind: Kind, obj: Object) -> None:
        """Keep the API server's answer to a write, before the watch tells of it."""
        self.by_kind()[kind].put(obj)

    def observe(
        self, resource: Resource, scraper: Scraper, found: Mapping[Kind, Object] | None = None
    ) -> Observed:
        """What is seen of the children of a resource; ``found`` was met outside the caches."""
        found = found or {}
        key = Key(resource.namespace, resource.name)
        met = found.get(JOBS)
        raw_job = met if met is not None and key_of(met) == key else self.jobs.get(key)
        job = job_of(raw_job, resource.name, resource.uid) if raw_job is not None else None
        job_uid = job.uid if job is not None and job.ours else None  # "" is a pod's without owner
        there = self.pods.owned_by(key)
        pods = [pod_of(obj) for obj in there if owner_of(obj) == job_uid]
        pods += [pod_of(obj, gone=True) for obj in self.pods.gone(key) if owner_of(obj) == job_uid]
        zero = rank_zero(pods)
        config_name = resource.run.config_map_name if resource.run is not None else ""
        config_map = self.config_maps.get(Key(key.namespace, config_name))
        return Observed(
            config_map=_child(found.get(CONFIG_MAPS) or config_map, resource),
            service=_child(found.get(SERVICES) or self.services.get(key), resource),
            job=job,
            pods=tuple(pods),
            strays=tuple(
                Stray(obj["metadata"]["name"], str((obj.get("spec") or {}).get("nodeName", "")))
                for obj in there
                if owner_of(obj) != job_uid and not has_ended(obj)
            ),
            report=scraper.report(key, zero.uid if zero is not None else None),
            cleanups=self.cleanups(key),
            nodes=self.nodes.nodes(),
        )

    def cleanups(self, key: Key) -> tuple[Cleanup, ...]:
        """The clean-up Jobs of all resources, gone or there, that bore a name."""
        return tuple(cleanup_of(obj) for obj in self.jobs.owned_by(key) if is_cleanup(obj))


def _child(obj: Object | None, of: Resource) -> Child | None:
    if obj is None:
        return None
    annotations = obj["metadata"].get("annotations") or {}
    return Child(
        hash=annotations.get(ANNOTATION_HASH, ""),
        content=annotations.get(ANNOTATION_CONTENT, ""),
        ours=owned_by(obj, of.uid),
        deleting=is_leaving(obj, of.name, of.uid),
    )
