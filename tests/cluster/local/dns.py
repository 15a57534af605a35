"""What CoreDNS may read in the cluster; it runs outside of it, under a certificate's name."""

from __future__ import annotations

from collections.abc import Mapping

from .pki import COREDNS


def manifests() -> list[Mapping[str, object]]:
    """The role of CoreDNS and who has it."""
    name = "sid-local:coredns"
    group = "rbac.authorization.k8s.io"
    rules = [
        {
            "apiGroups": [""],
            "resources": ["endpoints", "services", "pods", "namespaces"],
            "verbs": ["list", "watch"],
        },
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    binding = {**role, "kind": "ClusterRoleBinding"}
    return [
        {**role, "rules": rules},
        {
            **binding,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "User", "apiGroup": group, "name": COREDNS.user}],
        },
    ]
