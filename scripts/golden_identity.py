#!/usr/bin/env python3
"""Prints the golden vectors of docs/identity.md, computed without any of the project's code.

SHA-256 comes from hashlib; XXH3-128 from the system's libxxhash. `--check` compares with docs/identity.md instead.
"""

import ctypes
import hashlib
import pathlib
import struct
import sys


def text(value):
    data = value.encode()
    return struct.pack("<I", len(data)) + data


def namespace_bytes(spec):
    out = b"RPNS" + struct.pack("<I", 1)
    out += text(spec["model"]) + text(spec["revision"]) + text(spec["dtype"]) + text(spec["layout"])
    out += struct.pack("<IQ", spec["block_tokens"], spec["block_bytes"])
    out += struct.pack("<IIII", *spec["layers"], *spec["heads"])
    out += text(spec["salt"])
    extras = sorted((key.encode(), value.encode()) for key, value in spec["extras"])
    out += struct.pack("<I", len(extras))
    for key, value in extras:
        out += struct.pack("<I", len(key)) + key + struct.pack("<I", len(value)) + value
    return out


NAMESPACES = {
    "minimal": dict(model="m", revision="none", dtype="f16", layout="canonical", block_tokens=16, block_bytes=4096,
                    layers=(0, 1), heads=(0, 1), salt="", extras=[]),
    "full": dict(model="meta-llama/Llama-3.1-8B", revision="0e9e39f249a16976918f6564b8830bc894c89659",
                 dtype="bfloat16", layout="vllm-flash", block_tokens=16, block_bytes=2097152, layers=(0, 32),
                 heads=(0, 8), salt="tenant-é", extras=[("rope", "llama3:8"), ("engine", "vllm"), ("lora", "")]),
    "big": dict(model="x", revision="none", dtype="float8_e4m3", layout="opaque", block_tokens=256,
                block_bytes=1 << 30, layers=(61, 1), heads=(4294967294, 1), salt="s", extras=[("é", "1"), ("z", "2")]),
}


def sha256(data):
    return hashlib.sha256(data).digest()


class Xxh128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def load_xxh3():
    function = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    function.restype = Xxh128

    def xxh3(data):
        value = function(data, len(data))
        return struct.pack(">QQ", value.high, value.low)

    assert xxh3(b"").hex() == "99aa06d3014798d86001c324468d497f"  # published by xxHash
    return xxh3


def chain(digest, block_tokens, tokens):
    keys, parent = [], b""
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        parent = digest(parent + struct.pack(f"<{block_tokens}I", *tokens[start:start + block_tokens]))
        keys.append(parent[:16].hex())
    return keys


CHAINS = [  # block_tokens, tokens: block i of `a:n` is a, a+1, ... ; others are listed
    (1, "0:3"), (4, "1:11"), (16, "100:64"), (16, "4294967280:16"), (64, "7:130"), (256, "0:600"),
    (4, "1:3"),
]


def tokens_of(expression):
    first, count = (int(part) for part in expression.split(":"))
    return list(range(first, first + count))


HASHES = [("sha256", bytes(range(32))), ("sha256_cbor", bytes(range(32))), ("sha512", bytes(range(64))),
          ("builtin", bytes(range(8))), ("xxhash", bytes(range(16)))]


def lines():
    for name, spec in NAMESPACES.items():
        yield f"namespace {name} {sha256(namespace_bytes(spec))[:16].hex()}"
    for scheme, digest in (("sha256", sha256), ("xxh3", load_xxh3())):
        for block_tokens, expression in CHAINS:
            keys = chain(digest, block_tokens, tokens_of(expression))
            yield " ".join(["chain", scheme, str(block_tokens), expression, *keys])
    for algorithm, value in HASHES:
        name = algorithm.encode()
        key = sha256(b"reprise-engine-hash-1" + bytes([len(name)]) + name + value)[:16]
        yield f"hash {algorithm} {value.hex()} {key.hex()}"


def main():
    computed = list(lines())
    if "--check" not in sys.argv:
        print("\n".join(computed))
        return 0
    page = (pathlib.Path(__file__).parent.parent / "docs" / "identity.md").read_text()
    written = page.split("```golden\n")[1].split("```")[0].splitlines()
    for line in sorted(set(computed) ^ set(written)):
        print("only computed:" if line in computed else "only in the docs:", line)
    return 0 if computed == written else 1


if __name__ == "__main__":
    sys.exit(main())
