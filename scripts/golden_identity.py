#!/usr/bin/env python3
"""Prints the golden vectors of docs/identity.md, computed without any of the project's code.

SHA-256 comes from hashlib; XXH3-128 from the system's libxxhash; Fingerprint128 is written out here. `--check` compares
with docs/identity.md instead.
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


MASK = (1 << 64) - 1
K0, K1, K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def rotate(value, by):
    value &= MASK
    return (value >> by | value << (64 - by)) & MASK


def fold(value):
    value &= MASK
    return value ^ value >> 47


def mix(u, v, mul=0x9DDFEA08EB382D69):
    u, v = u & MASK, v & MASK
    a = fold((u ^ v) * mul)
    return fold((v ^ a) * mul) * mul & MASK


def fetch(data, at, size=8):
    return int.from_bytes(data[at:at + size], "little")


def tiny(data):
    n = len(data)
    mul = K2 + 2 * n
    if n >= 8:
        a, b = fetch(data, 0) + K2, fetch(data, n - 8)
        return mix(rotate(b, 37) * mul + a, (rotate(a, 25) + b) * mul, mul & MASK)
    if n >= 4:
        return mix(n + (fetch(data, 0, 4) << 3), fetch(data, n - 4, 4), mul & MASK)
    if n == 0:
        return K2
    y, z = data[0] + (data[n >> 1] << 8), n + (data[n - 1] << 2)
    return fold(y * K2 & MASK ^ z * K0 & MASK) * K2 & MASK


def weak(data, at, a, b):
    w, x, y, z = (fetch(data, at + 8 * i) for i in range(4))
    a += w
    b = rotate(b + a + z, 21)
    top = a + x + y
    return (top + z) & MASK, (b + rotate(top, 44) + a) & MASK


def farm_short(data, a, b):
    n = len(data)
    if n <= 16:
        a = fold(a * K1) * K1 & MASK
        c = (b * K1 + tiny(data)) & MASK
        d = fold(a + (fetch(data, 0) if n >= 8 else c))
    else:
        c = mix(fetch(data, n - 8) + K1, a)
        d = mix(b + n, c + fetch(data, n - 16))
        a = (a + d) & MASK
        for at in range(0, n - 16, 16):
            a = (a ^ fold(fetch(data, at) * K1) * K1 & MASK) * K1 & MASK
            b ^= a
            c = (c ^ fold(fetch(data, at + 8) * K1) * K1 & MASK) * K1 & MASK
            d ^= c
    a, b = mix(a, c), mix(d, b)
    return a ^ b, mix(b, a)


def farm_long(data, x, y):
    n = len(data)
    z = n * K1
    v0 = rotate(y ^ K1, 49) * K1 + fetch(data, 0)
    v1 = rotate(v0, 42) * K1 + fetch(data, 8)
    w0, w1 = rotate(y + z, 35) * K1 + x, rotate(x + fetch(data, 88), 53) * K1
    whole = n // 128 * 128
    for at in range(0, whole, 64):
        x = rotate(x + y + v0 + fetch(data, at + 8), 37) * K1
        y = rotate(y + v1 + fetch(data, at + 48), 42) * K1
        x = (x ^ w1) & MASK
        y += v0 + fetch(data, at + 40)
        z = rotate(z + w0, 33) * K1
        v0, v1 = weak(data, at, v1 * K1, x + w0)
        w0, w1 = weak(data, at + 32, z + w1, y + fetch(data, at + 16))
        z, x = x, z
    x += rotate(v0 + z, 49) * K0
    y = y * K0 + rotate(w1, 37)
    z = z * K0 + rotate(w0, 27)
    w0, v0 = w0 * 9, v0 * K0
    for done in range(32, n - whole + 32, 32):
        at = n - done
        y = rotate(x + y, 42) * K0 + v1
        w0 += fetch(data, at + 16)
        x = x * K0 + w0
        z += w1 + fetch(data, at)
        w1 += v0
        v0, v1 = weak(data, at, v0 + z, v1)
        v0 *= K0
    x, y = mix(x, v0), mix(y + z, w0)
    return (mix(x + v1, w1) + y) & MASK, mix(x + w1, y + v1)


def fingerprint128(data):
    if len(data) < 16:
        high, low = farm_short(data, K0, K1)
    else:
        form = farm_short if len(data) < 144 else farm_long
        high, low = form(data[16:], fetch(data, 0), (fetch(data, 8) + K0) & MASK)
    return high << 64 | low


def blocks_of(block_tokens, tokens):
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        yield struct.pack(f"<{block_tokens}I", *tokens[start:start + block_tokens])


def farm_rolling(block_tokens, tokens):
    prime, top = 2 ** 88 + 0x13B, 2 ** 128 - 1
    keys, parent = [], None
    for block in blocks_of(block_tokens, tokens):
        print_ = fingerprint128(block)
        if parent is not None:
            print_ = (parent ^ (print_ + prime + (parent << 24) + (parent >> 4)) & top) * prime & top
        keys.append(f"{print_:032x}")
        parent = print_
    return keys


def farm_simple(block_tokens, tokens):
    keys, before = [], b""
    for block in blocks_of(block_tokens, tokens):
        before += block
        keys.append(f"{fingerprint128(before):032x}")
    return keys


def chain(digest, block_tokens, tokens):
    keys, parent = [], b""
    for block in blocks_of(block_tokens, tokens):
        parent = digest(parent + block)
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
    xxh3 = load_xxh3()
    schemes = {"sha256": lambda *of: chain(sha256, *of), "xxh3": lambda *of: chain(xxh3, *of),
               "farm_rolling": farm_rolling, "farm_simple": farm_simple}
    for scheme, keys_of in schemes.items():
        for block_tokens, expression in CHAINS:
            keys = keys_of(block_tokens, tokens_of(expression))
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
