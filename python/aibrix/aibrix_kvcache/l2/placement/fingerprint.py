"""FarmHash's Fingerprint64 (Google, MIT licence): which slot a key falls into."""

from __future__ import annotations

_MASK = (1 << 64) - 1
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F


def fingerprint64(data: bytes) -> int:
    """The fingerprint of `data`; the longer, the slower: keys of 16 bytes are what it is for."""
    if len(data) <= 16:
        return _up_to_16(data)
    if len(data) <= 32:
        return _up_to_32(data)
    if len(data) <= 64:
        return _up_to_64(data)
    return _longer(data)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _rotate(value: int, by: int) -> int:
    value &= _MASK
    return (value >> by | value << (64 - by)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _pair(first: int, second: int, factor: int) -> int:
    low = _mix((first ^ second) * factor)
    high = _mix(((second & _MASK) ^ low) * factor)
    return high * factor & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    if size >= 8:
        first, second = _word(data, 0) + _K2, _word(data, size - 8)
        left = _rotate(second, 37) * factor + first
        right = (_rotate(first, 25) + second) * factor
        return _pair(left & _MASK, right & _MASK, factor)
    if size >= 4:
        first = int.from_bytes(data[:4], "little")
        return _pair(size + (first << 3), int.from_bytes(data[size - 4 :], "little"), factor)
    if size:
        low = data[0] + (data[size >> 1] << 8)
        high = size + (data[size - 1] << 2)
        return _mix(low * _K2 ^ high * _K0) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    left = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _pair(left & _MASK, (a + _rotate(b + _K2, 18) + c) & _MASK, factor)


def _up_to_64(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _pair(y & _MASK, (a + _rotate(b + _K2, 18) + c) & _MASK, factor)
    e, f = _word(data, 16) * factor, _word(data, 24)
    g, h = (y + _word(data, size - 32)) * factor, (z + _word(data, size - 24)) * factor
    left = _rotate(e + f, 43) + _rotate(g, 30) + h
    return _pair(left & _MASK, (e + _rotate(f + a, 18) + g) & _MASK, factor)


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_word(data, at + 8 * index) for index in range(4))
    a += w
    b = _rotate(b + a + z, 21)
    before = a
    a += x + y
    b += _rotate(a, 44)
    return (a + z) & _MASK, (b + before) & _MASK


def _longer(data: bytes) -> int:
    size = len(data)
    x, y = 81, 81 * _K1 + 113
    z = _mix(y * _K2 + 113) * _K2
    v = w = (0, 0)
    x = (x * _K2 + _word(data, 0)) & _MASK
    for at in range(0, (size - 1) // 64 * 64, 64):
        x, y, z, v, w = _round(data, at, x, y, z, v, w, _K1, 1)
    factor = _K1 + ((z & 0xFF) << 1)
    w = ((w[0] + (size - 1) % 64) & _MASK, w[1])
    v = ((v[0] + w[0]) & _MASK, v[1])
    w = ((w[0] + v[0]) & _MASK, w[1])
    x, y, z, v, w = _round(data, size - 64, x, y, z, v, w, factor, 9)
    left = _pair(v[0], w[0], factor) + _mix(y) * _K0 + z
    return _pair(left & _MASK, (_pair(v[1], w[1], factor) + x) & _MASK, factor)


def _round(
    data: bytes, at: int, x: int, y: int, z: int, v: tuple[int, int], w: tuple[int, int], factor: int, times: int
) -> tuple[int, int, int, tuple[int, int], tuple[int, int]]:
    x = _rotate(x + y + v[0] + _word(data, at + 8), 37) * factor
    y = _rotate(y + v[1] + _word(data, at + 48), 42) * factor
    x = (x & _MASK) ^ (w[1] * times & _MASK)
    y = (y + v[0] * times + _word(data, at + 40)) & _MASK
    z = _rotate(z + w[0], 33) * factor
    v = _weak(data, at, v[1] * factor, x + w[0])
    w = _weak(data, at + 32, z + w[1], y + _word(data, at + 16))
    return z & _MASK, y, x, v, w
