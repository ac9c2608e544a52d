"""Tensors of torch, in and out. Collected where torch is installed (conftest.py); test_cache.py has plain DLPack."""

import pytest
import torch

import reprise

from conftest import BLOCK, block, make_chain, make_namespace


@pytest.fixture(params=["embedded", "unix", "tcp"])
def tensors_cache(request):
    if request.param == "embedded":
        yield request.getfixturevalue("cache")
    else:
        with reprise.Cache.open(request.getfixturevalue("daemons")[request.param]) as opened:
            yield opened


def tensors(count, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(-9, 9, (count, 2, BLOCK // 2 // dtype.itemsize), generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8, torch.float8_e4m3fn])
def test_tensors_go_there_and_back(tensors_cache, request, dtype):
    chain = make_chain(3, make_namespace(salt=request.node.name))
    data = tensors(3, dtype)
    assert tensors_cache.put(chain, list(data)).accepted == 3
    whole, parts = torch.zeros_like(data), torch.zeros_like(data)
    assert tensors_cache.get(chain, whole, timeout=30).blocks == 3
    assert tensors_cache.get(chain, list(parts), timeout=30).blocks == 3
    assert torch.equal(whole.view(torch.uint8), data.view(torch.uint8))
    assert torch.equal(parts.view(torch.uint8), data.view(torch.uint8))


def test_a_tensor_of_a_reservation_and_of_a_lease(tensors_cache, request):
    chain = make_chain(2, make_namespace(salt=request.node.name))
    data = tensors(2)
    with tensors_cache.reserve(chain, timeout=30) as places:
        for i in range(2):
            place = torch.frombuffer(places[i], dtype=torch.bfloat16)
            place.copy_(data[i].flatten())
            del place
        assert places.commit() == 2
    with tensors_cache.acquire(chain, timeout=30) as lease:
        # torch warns of read-only memory, which this is: a copy is made of it.
        seen = [torch.frombuffer(bytearray(view), dtype=torch.bfloat16) for view in lease]
    assert torch.equal(torch.stack(seen), data.flatten(1))


def test_one_tensor_of_all_memory(cache):
    chain = make_chain(3)
    data = tensors(3)
    memory = torch.frombuffer(cache.writable_memory, dtype=torch.bfloat16)
    with cache.reserve(chain) as places:
        cut = [slice(at // 2, (at + BLOCK) // 2) for at in places.offsets]
        for where, one in zip(cut, data, strict=True):
            memory[where] = one.flatten()
        assert places.commit() == 3
    with cache.acquire(chain) as lease, lease.hold():
        assert [slice(at // 2, (at + BLOCK) // 2) for at in lease.offsets] == cut
        assert all(torch.equal(memory[where], one.flatten()) for where, one in zip(cut, data, strict=True))
    cache.close()
    assert torch.equal(memory[cut[1]], data[1].flatten())  # mapped as long as the tensor lives


def test_tokens_may_be_a_tensor():
    tokens = torch.arange(40, dtype=torch.int32)
    assert reprise.block_keys(tokens, 16) == reprise.block_keys(tokens.long(), 16) == reprise.block_keys(range(40), 16)
    growing = reprise.KeyChain(16, reprise.KeyScheme.FARM_ROLLING)
    growing.append(tokens[:20])
    growing.append(tokens[20:])
    assert growing.keys == reprise.block_keys(range(40), 16, reprise.KeyScheme.FARM_ROLLING)


def test_what_does_not_fit_is_named(cache):
    with pytest.raises(ValueError, match="not C-contiguous"):
        cache.put(make_chain(1), [torch.zeros(BLOCK, 2, dtype=torch.uint8)[:, 0]])
    with pytest.raises(ValueError, match=r"blocks\[0\] has 4095 bytes"):
        cache.put(make_chain(1), [torch.zeros(BLOCK - 1, dtype=torch.uint8)])
    with pytest.raises(ValueError, match="cannot be exported by DLPack|not in the memory of the CPU"):
        cache.put(make_chain(1), [torch.zeros(BLOCK, dtype=torch.uint8, device="meta")])
    cache.put(make_chain(1), [torch.frombuffer(bytearray(block(0)), dtype=torch.uint8)])
    assert cache.match(make_chain(1)).blocks == 1
