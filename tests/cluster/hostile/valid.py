"""Random values that a structural schema allows, or nearly: CEL rules are not looked at."""

from __future__ import annotations

import random
from typing import Any

Schema = dict[str, Any]

TEXTS = {
    "uri": ("s3://bucket/a.txt", "/mnt/m/a.txt", "hf://datasets/a/b@main/c.parquet", "s3://sid/é"),
    "model": ("organisation/model", "s3://bucket/teacher", "/mnt/m/teacher"),
    "initFrom": ("organisation/model", "s3://bucket/student"),
    "revision": ("main", "v1.0", "a" * 40),
    "bucket": ("sid", "my-bucket"),
    "prefix": ("runs", "team/runs"),
    "endpoint": ("http://minio.minio:9000", "https://s3.example.org"),
    "mountPath": ("/mnt/m", "/data/x"),
    "image": ("registry.example.org/trainer:1", "trainer@sha256:" + "a" * 64),
    "gpuResource": ("nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu", ""),
    "sharedMemory": ("8Gi", "1024"),
    "column": ("text", "caption 1", "é"),
    "items": ("a cat", "A dog: 'quoted', \"twice\"", "- [ ] {x}\n\ttab", "日本語"),
}
NAMES = ("one", "two", "a-b", "x1")
QUALIFIED = ("cpu", "memory", "rdma/hca", "example.org/x", "zone")
QUANTITY = ("1", "500m", "64Gi", "2", "1e3", 3)


def value(schema: Schema, name: str, rng: random.Random) -> Any:
    """A value for a field of this name."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return rng.choice(QUANTITY)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _number(schema, rng, whole=kind == "integer")
    if kind == "boolean":
        return rng.random() < 0.5
    if kind in ("array", "object"):
        return _array(schema, rng) if kind == "array" else _object(schema, rng)
    return rng.choice(TEXTS.get(name, NAMES))


def _array(schema: Schema, rng: random.Random) -> list[Any]:
    low, high = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
    return [value(schema["items"], "items", rng) for _ in range(rng.randint(low, high))]


def _number(schema: Schema, rng: random.Random, *, whole: bool) -> Any:
    low, high = schema.get("minimum", 0), schema.get("maximum", 10_000)
    if "default" in schema and rng.random() < 0.4:
        return schema["default"]
    # Mostly small ones: large ones contradict each other.
    drawn = rng.choice((low, high, rng.uniform(low, min(high, low + 16)), rng.uniform(low, high)))
    return int(drawn) if whole else float(drawn)


def _object(schema: Schema, rng: random.Random) -> dict[str, Any]:
    if "additionalProperties" in schema:
        keys = rng.sample(QUALIFIED, rng.randint(0, 3))
        return {key: value(schema["additionalProperties"], "value", rng) for key in keys}
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return rng.choice(({}, {"bf16": {"enabled": True}}, {"zero_optimization": {"x": [1, "é"]}}))
    required = set(schema.get("required", ()))
    return {
        name: value(part, name, rng)
        for name, part in schema.get("properties", {}).items()
        if name in required or rng.random() < 0.25
    }
