"""KvPieces over every layout an engine uses, against what plain numpy says; torch's own types where torch is there."""

import gc
import threading
import time

import numpy as np
import pytest

import reprise

from conftest import make_chain, make_namespace

BLOCKS, TOKENS, HEADS, DIM, LAYERS = 7, 4, 3, 16, 5


def numbered(shape, dtype=np.uint16, first=0):
    return (np.arange(np.prod(shape), dtype=np.uint64) * 40503 + first).astype(dtype).reshape(shape)


def kv_major():
    """[2, blocks, tokens, heads, dim]: keys and values apart."""
    return [numbered((2, BLOCKS, TOKENS, HEADS, DIM), first=layer) for layer in range(LAYERS)], 1


def packed():
    """[blocks, heads, tokens, 2 * dim]: keys and values in one last dimension."""
    return [numbered((BLOCKS, HEADS, TOKENS, 2 * DIM), np.float32, layer) for layer in range(LAYERS)], 0


def blocks_first():
    """[blocks, 2, tokens, heads, dim]."""
    return [numbered((BLOCKS, 2, TOKENS, HEADS, DIM), first=layer) for layer in range(LAYERS)], 0


def layer_first():
    """All layers are views of one storage, a layer after the other."""
    return list(numbered((LAYERS, BLOCKS, HEADS, TOKENS, 2 * DIM))), 0


def layers_in_block():
    """All layers of a block lie together: one piece."""
    whole = numbered((BLOCKS, LAYERS, 2, TOKENS, HEADS, DIM))
    return [whole[:, layer] for layer in range(LAYERS)], 0


def latent():
    """MLA: [blocks, tokens, latent]."""
    return [numbered((BLOCKS, TOKENS, 36), np.uint8, layer) for layer in range(LAYERS)], 0


def tokens_in_block():
    """A host pool [2, tokens, layers, heads, dim], cut into blocks of TOKENS tokens."""
    return [numbered((2, BLOCKS * TOKENS, LAYERS, HEADS, DIM)).reshape(2, BLOCKS, TOKENS, LAYERS, HEADS, DIM)], 1


def heads_permuted():
    """Indexed [blocks, 2, tokens, heads, dim], but heads lie before tokens."""
    tensors = [numbered((BLOCKS, 2, HEADS, TOKENS, DIM), first=layer) for layer in range(LAYERS)]
    return [tensor.transpose(0, 1, 3, 2, 4) for tensor in tensors], 0


def strided():
    """Every dimension has gaps."""
    return [numbered((2 * BLOCKS, TOKENS + 1, 2 * HEADS, DIM + 3), first=layer)[::2, :TOKENS, 1::2, 2:DIM]
            for layer in range(LAYERS)], 0


def backwards():
    """Strides below zero."""
    return [numbered((BLOCKS, TOKENS, DIM), first=layer)[::-1, ::-1] for layer in range(LAYERS)], 0


def blocks_last():
    """Nothing of a block is contiguous."""
    return [numbered((HEADS, TOKENS, BLOCKS))], -1


def mixed():
    """A dimension for each: full attention and latents side by side."""
    return kv_major()[0][:2] + latent()[0][:2], [1, 1, 0, 0]


# The last head of the last key is followed by the first of the values, permuted or not.
PIECES = {kv_major: 2 * LAYERS, packed: LAYERS, blocks_first: LAYERS, layer_first: LAYERS, layers_in_block: 1,
          latent: LAYERS, tokens_in_block: 2, heads_permuted: (2 * TOKENS * HEADS - 1) * LAYERS,
          strided: TOKENS * HEADS * LAYERS, backwards: TOKENS * LAYERS, blocks_last: HEADS * TOKENS, mixed: 6}
IDS = [5, 0, 6, 2]


def dims_of(tensors, dims):
    return dims if isinstance(dims, list) else [dims] * len(tensors)


def parts_of(tensors, dims, number):
    """A block's part of each tensor."""
    return [np.moveaxis(tensor, dim, 0)[number] for tensor, dim in zip(tensors, dims_of(tensors, dims), strict=True)]


def block_of(tensors, dims, number):
    """The reference: a block's bytes as numpy copies them, index by index."""
    return b"".join(part.tobytes() for part in parts_of(tensors, dims, number))


def write_block(tensors, dims, number, block):
    at = 0
    for part in parts_of(tensors, dims, number):
        part[...] = np.frombuffer(block, dtype=part.dtype, count=part.size, offset=at).reshape(part.shape)
        at += part.nbytes


def storages(tensors):
    """All memory behind the tensors, gaps included."""
    return [(tensor if tensor.base is None else tensor.base).tobytes() for tensor in tensors]


def buffers(count, size):
    return [bytearray(size) for _ in range(count)]


def noise(count, size):
    return [np.random.default_rng(i).bytes(size) for i in range(count)]


@pytest.fixture(params=PIECES, ids=lambda make: make.__name__)
def make(request):
    return request.param


def test_gather_gives_what_indexing_does(make):
    tensors, dims = make()
    pieces = reprise.KvPieces.from_tensors(tensors, dims)
    wanted = [block_of(tensors, dims, number) for number in IDS]
    assert (pieces.num_blocks, pieces.block_bytes, pieces.num_pieces) == (BLOCKS, len(wanted[0]), PIECES[make])
    out = buffers(len(IDS), pieces.block_bytes)
    assert pieces.gather(IDS, out) == len(IDS)
    assert out == wanted
    whole = bytearray(len(IDS) * pieces.block_bytes)
    assert pieces.gather(np.array(IDS), whole) == len(IDS)
    assert whole == b"".join(wanted)


def test_scatter_writes_those_blocks_and_nothing_else(make):
    tensors, dims = make()
    expected, _ = make()
    pieces = reprise.KvPieces.from_tensors(tensors, dims)
    blocks = noise(len(IDS), pieces.block_bytes)
    assert pieces.scatter(IDS, blocks) == len(IDS)
    for number, block in zip(IDS, blocks, strict=True):
        write_block(expected, dims, number, block)
    assert storages(tensors) == storages(expected)


def test_memory_order_is_a_round_trip_in_no_more_pieces(make):
    tensors, dims = make()
    expected = storages(tensors)
    pieces = reprise.KvPieces.from_tensors(tensors, dims, memory_order=True)
    assert pieces.num_pieces <= PIECES[make]
    out = buffers(BLOCKS, pieces.block_bytes)
    pieces.gather(range(BLOCKS), out)
    for number in range(BLOCKS):
        assert sorted(out[number]) == sorted(block_of(tensors, dims, number))
    pieces.scatter(range(BLOCKS), bytes(BLOCKS * pieces.block_bytes))
    pieces.scatter(range(BLOCKS), out)
    assert storages(tensors) == expected


def test_memory_order_of_permuted_heads_is_one_piece_a_layer():
    tensors, dims = heads_permuted()
    pieces = reprise.KvPieces.from_tensors(tensors, dims, memory_order=True)
    assert pieces.num_pieces == LAYERS
    out = bytearray(pieces.block_bytes)
    pieces.gather([3], out)
    assert out == block_of([tensor.transpose(0, 1, 3, 2, 4) for tensor in tensors], dims, 3)
    assert pieces.signature == "5x[2,4,3,16]*2@0.2.1.3"
    assert reprise.KvPieces.from_tensors(tensors, dims).signature == "5x[2,4,3,16]*2"


def test_what_is_in_the_cache_comes_back_through_a_reservation_and_a_lease(any_cache):
    tensors, dims = kv_major()
    before = storages(tensors)
    pieces = reprise.KvPieces.from_tensors(tensors, dims)
    ns = make_namespace(block_bytes=pieces.block_bytes, salt="layout")
    chain = make_chain(5, ns)
    any_cache.put(chain, [block_of(tensors, dims, 4)])
    with any_cache.reserve(chain) as places:
        assert places[0] is None
        assert pieces.gather_into(places, 0, [4, 1]) == 1  # The first is there already.
        assert pieces.gather_into(places, 2, np.array([0, 6, 2], dtype=np.int32)) == 3
        assert places.commit() == 5
    pieces.scatter(range(BLOCKS), bytes(BLOCKS * pieces.block_bytes))
    with any_cache.acquire(chain, timeout=30) as lease:
        assert lease.match.blocks == 5
        assert pieces.scatter_from(lease, 0, [4, 1]) is True
        assert pieces.scatter_from(lease, 3, [6, 2]) is True
        assert pieces.scatter_from(lease, 2, [0]) is True
        lease.release()  # Nothing counts as a view any more.
    for number in (3, 5):  # What was not stored.
        write_block(tensors, dims, number, block_of(kv_major()[0], dims, number))
    assert storages(tensors) == before


def test_ended_leases_and_reservations_are_refused(cache):
    pieces = reprise.KvPieces.from_tensors([numbered((BLOCKS, 2048))])
    chain = make_chain(3)
    with cache.reserve(chain) as places:
        with pytest.raises(reprise.InvalidError, match="2 blocks from 2 on; the reservation has 3"):
            pieces.gather_into(places, 2, [0, 1])
        assert pieces.gather_into(places, 0, [0, 1, 2]) == 3
        places.commit()
        with pytest.raises(BufferError, match="ended"):
            pieces.gather_into(places, 0, [0])
    with cache.acquire(chain) as lease:
        with pytest.raises(reprise.InvalidError, match="1 blocks from 3 on; the lease has 3"):
            pieces.scatter_from(lease, 3, [0])
        with pytest.raises(reprise.InvalidError, match=r"block_ids\[0\] is 7"):
            pieces.scatter_from(lease, 0, [BLOCKS])
    with pytest.raises(BufferError, match="released"):
        pieces.scatter_from(lease, 0, [0])


def test_a_lease_that_ran_out_gives_nothing():
    tensor = numbered((BLOCKS, 2048))
    pieces = reprise.KvPieces.from_tensors([tensor])
    with reprise.Cache.open(l1_capacity="4MiB", l1_policy="lru", l1_populate=False, lease_ttl=0.01) as cache:
        cache.put(make_chain(1), [bytes(4096)])
        lease = cache.acquire(make_chain(1))
        late = time.monotonic() + 60
        while lease.valid and time.monotonic() < late:  # Embedded, without views: nobody renews it.
            time.sleep(0.001)
        assert pieces.scatter_from(lease, 0, [2]) is False
    assert np.array_equal(tensor, numbered((BLOCKS, 2048)))


def test_a_block_of_another_size_is_refused(cache):
    pieces = reprise.KvPieces.from_tensors([numbered((BLOCKS, 100))])
    with cache.reserve(make_chain(1)) as places:
        with pytest.raises(reprise.InvalidError, match="block 0 has 4096 bytes; one of these tensors has 200"):
            pieces.gather_into(places, 0, [0])
    with pytest.raises(ValueError, match="block_bytes is 200"):
        pieces.gather([0], [bytearray(4096)])


@pytest.mark.parametrize("ids, text", [
    ([0, BLOCKS], r"block_ids\[1\] is 7; there are 7 blocks"),
    ([-1], r"block_ids\[0\] is -1; block ids are"),
    (np.array([0, 1 << 40]), r"block_ids\[1\] is 1099511627776"),
    ([0], "1 block ids but 2 blocks"),
])
def test_wrong_ids_are_refused_before_anything_is_copied(ids, text):
    tensors, dims = packed()
    pieces = reprise.KvPieces.from_tensors(tensors, dims)
    blocks = [bytearray(b"x" * pieces.block_bytes) for _ in range(2)]
    for call in (pieces.gather, pieces.scatter):
        with pytest.raises(ValueError, match=text):
            call(ids, blocks if len(ids) < 3 and text.startswith("1 ") else blocks[:len(ids)])
    assert blocks[0] == b"x" * pieces.block_bytes
    assert storages(tensors) == storages(packed()[0])


@pytest.mark.parametrize("tensors, dims, error, text", [
    ([], 0, ValueError, "there are no tensors"),
    ([numbered((4, 8)), numbered((5, 8))], 0, ValueError, "tensor 1: 5 blocks; those before it have 4"),
    ([numbered((4, 8))], 2, ValueError, r"tensors\[0\]: the block dimension is 2 of 2"),
    ([numbered((4, 8))], -3, ValueError, "the block dimension is -3 of 2"),
    ([numbered((4, 8))], [0, 1], ValueError, "block_dims has 2 numbers for 1 tensors"),
    ([np.broadcast_to(numbered((8,)), (4, 8))], 0, ValueError, "overlap"),
    (["text"], 0, TypeError, "neither a torch tensor"),
    (numbered((4, 8)), 0, TypeError, "expected a sequence of tensors"),
    ([np.zeros((2, 3 << 20), np.uint8)[:, ::2]], 0, ValueError, "more than 65536 pieces"),
    ([np.zeros(8, dtype=[("a", "u1"), ("b", "<u2")])["b"]], 0, ValueError, "not whole elements"),
])
def test_tensors_that_cannot_be_taken_are_refused_with_the_reason(tensors, dims, error, text):
    with pytest.raises(error, match=text):
        reprise.KvPieces.from_tensors(tensors, dims)


def test_read_only_tensors_can_be_gathered_but_not_scattered_into():
    tensor = numbered((BLOCKS, 8))
    tensor.flags.writeable = False
    pieces = reprise.KvPieces.from_tensors([numbered((BLOCKS, 8)), tensor])
    out = bytearray(32)
    assert pieces.gather([1], out) == 1
    with pytest.raises(ValueError, match=r"tensors\[1\] is read-only"):
        pieces.scatter([1], out)


def test_tensors_live_as_long_as_their_pieces():
    pieces = reprise.KvPieces.from_tensors([numbered((BLOCKS, 4096))])
    gc.collect()
    out = bytearray(8192)
    pieces.gather([6], out)
    assert out == numbered((BLOCKS, 4096))[6].tobytes()


def test_threads_share_pieces_and_moves_use_threads():
    tensor = numbered((5, 1 << 20), np.uint32)  # 4 MiB a block: two threads have something to do
    pieces = reprise.KvPieces.from_tensors([tensor])
    out = [bytearray(5 << 22) for _ in range(2)]
    workers = [threading.Thread(target=pieces.gather, args=(range(5), out[i]), kwargs={"threads": 2})
               for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert out[0] == out[1] == tensor.tobytes()
    tensor[...] = 0
    assert pieces.scatter(range(5), out[0], threads=2) == 5
    assert tensor.tobytes() == out[1]


def test_torch_tensors_of_any_type():
    torch = pytest.importorskip("torch")
    for dtype in (torch.bfloat16, torch.float32, torch.uint8, getattr(torch, "float8_e4m3fn", torch.int8)):
        shape = (2, BLOCKS, HEADS, TOKENS, DIM)
        size = 2 * BLOCKS * HEADS * TOKENS * DIM * dtype.itemsize
        base = torch.arange(size, dtype=torch.int64).to(torch.uint8).view(dtype).reshape(shape)
        tensor = base.transpose(2, 3)
        pieces = reprise.KvPieces.from_tensors([tensor, base[1]], [1, 0])
        out = [torch.zeros(pieces.block_bytes, dtype=torch.uint8) for _ in IDS]
        assert pieces.gather(torch.tensor(IDS), out) == len(IDS)
        for number, block in zip(IDS, out, strict=True):
            parts = [tensor.select(1, number), base[1].select(0, number)]
            assert torch.equal(block, torch.cat([part.contiguous().view(-1).view(torch.uint8) for part in parts]))
    with pytest.raises(ValueError, match="on 'meta'"):
        reprise.KvPieces.from_tensors([torch.zeros((2, 2), device="meta")])
