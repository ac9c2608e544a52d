import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aibrix_kvcache.cache_hashable import (
    BlockCacheKey,
    BlockHashes,
    KVCacheKey,
    TokenCacheKey,
    TokenListView,
    is_block_hash_list_type,
)

tokens = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40)
position = st.none() | st.integers(-50, 50)


@given(tokens, position, position, position, position)
def test_views_are_slices_of_lists(data, a, b, c, d):
    view = TokenListView(data, a, b)
    assert list(view) == data[a:b]
    assert list(view[c:d]) == data[a:b][c:d]
    assert len(view[c:d]) == len(data[a:b][c:d])
    assert view[c:d].meta is view.meta
    assert view[c:d] == TokenListView(data[a:b][c:d])
    assert hash(view[c:d]) == hash(TokenListView(data[a:b][c:d]))
    assert view.nbytes() == len(view.memoryview().cast("b")) == TokenListView.calculate_size(len(view))


@given(tokens, st.integers(-50, 50))
def test_positions_are_those_of_lists(data, index):
    view = TokenListView([1, 2, *data, 3])[2:-1]
    if -len(data) <= index < len(data):
        assert view[index] == data[index]
    else:
        with pytest.raises(IndexError, match=str(index)):
            view[index]


@given(tokens, tokens)
def test_equality_is_that_of_the_tokens(left, right):
    assert (TokenListView(left) == TokenListView(right)) == (left == right)
    assert TokenListView(left) != left


@given(tokens, st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_neighbours_join_in_either_order(data, a, b, c):
    a, b, c = sorted(min(n, len(data)) for n in (a, b, c))
    view = TokenListView(data)
    for joined in (view[a:b] + view[b:c], view[b:c] + view[a:b]):
        assert list(joined) == data[a:c]
        assert joined.array is view.array
        assert joined.meta is view.meta


def test_what_does_not_join():
    view = TokenListView(range(32))
    with pytest.raises(ValueError, match="0 to 8 and 16 to 32"):
        view[:8] + view[16:]
    with pytest.raises(ValueError, match="different arrays"):
        view[:8] + TokenListView(range(32))[8:]
    with pytest.raises(TypeError, match="list"):
        view + [1]
    with pytest.raises(ValueError, match="got 2"):
        view[::2]


def test_int32_arrays_are_kept_and_others_copied():
    kept = np.arange(8, dtype=np.int32)
    assert TokenListView.from_numpy(kept).array is kept
    assert np.shares_memory(TokenListView(kept)[2:4].to_numpy(), kept)
    for other in (np.arange(8), np.arange(8, dtype=">i4"), np.arange(16, dtype=np.int32)[::2] // 2):
        assert list(TokenListView(other)) == list(range(8))
        assert TokenListView(other).to_numpy().dtype == np.int32
    words = [5, 6]
    view = TokenListView(words)
    words[0] = 7
    assert list(view) == [5, 6]


def test_views_of_one_converted_array_join():
    wide = np.arange(32)
    assert list(TokenListView(wide, 0, 8) + TokenListView(wide, 8, 16)) == list(range(16))


def test_a_view_of_a_view_shares_its_meta():
    view = TokenListView(range(32))
    again = TokenListView(view[8:24], 4, 8)
    assert list(again) == [12, 13, 14, 15]
    assert again.meta is view.meta
    assert (again.start, again.stop) == (12, 16)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ([1, 2.5], TypeError, "2.5 at position 1"),
        (["a"], TypeError, "'a' at position 0"),
        ([1, 2, 2**31], ValueError, "2147483648 at position 2"),
        (np.array([0, 2**40]), ValueError, "1099511627776 at position 1"),
        (np.zeros((2, 2), dtype=np.int32), ValueError, r"\(2, 2\)"),
        (np.zeros(2), TypeError, "float64"),
        (b"abcd", TypeError, "bytes"),
        ("abcd", TypeError, "str"),
    ],
)
def test_what_is_no_token_is_named(data, error, said):
    with pytest.raises(error, match=said):
        TokenListView(data)


def test_views_travel_without_what_they_do_not_show():
    view = TokenListView(range(1000))[10:12]
    view.meta.keys["computed"] = bytes(10000)
    sent = pickle.dumps(view)
    assert len(sent) < 1000
    assert pickle.loads(sent) == view


hashes = st.lists(st.text(max_size=3), max_size=12)
blocks = st.none() | st.integers(-15, 15)


@given(hashes, st.integers(1, 5), blocks, blocks, st.integers(1, 3))
def test_block_hashes_are_slices_of_lists(data, size, a, b, step):
    run = BlockHashes(data, size)
    assert len(run) == len(data) * size
    ends = [None if n is None else n * size for n in (a, b)]
    part = run[ends[0] : ends[1]]
    assert list(part) == part.hashes == data[a:b]
    assert part.meta is run.meta
    assert part == BlockHashes(data[a:b], size)
    assert hash(part) == hash(BlockHashes(data[a:b], size))
    assert list(run[ends[0] : ends[1] : step * size]) == data[a:b:step]
    assert list(part + run) == data[a:b] + data
    assert pickle.loads(pickle.dumps(part)) == part
    for i in range(-len(part.hashes), len(part.hashes)):
        assert part[i] == data[a:b][i]
    with pytest.raises(IndexError):
        part[len(part.hashes)]


def test_neighbouring_block_hashes_share_their_meta():
    run = BlockHashes(["a", "b", "c"], 16)
    assert (run[:16] + run[16:48]).meta is run.meta
    assert (run[16:32] + run[:16]).hashes == ["b", "a"]


def test_block_hashes_keep_what_they_were_given():
    data = ["a", "b"]
    run = BlockHashes(data, 16)
    data[0] = 7
    assert run.hashes == ["a", "b"]


def test_wrong_block_hashes_are_named():
    with pytest.raises(TypeError, match="7 at position 1"):
        BlockHashes(["a", 7], 16)
    with pytest.raises(TypeError, match="tuple"):
        BlockHashes(("a",), 16)
    with pytest.raises(ValueError, match="-1"):
        BlockHashes(["a"], -1)
    run = BlockHashes(["a", "b"], 16)
    with pytest.raises(AssertionError, match="16 tokens, got 8"):
        run[8:]
    with pytest.raises(AssertionError, match="stop.*got 24"):
        run[:24]
    with pytest.raises(AssertionError, match="step.*got 1"):
        run[::1]
    with pytest.raises(ValueError, match="16 and of 32"):
        run + BlockHashes(["a"], 32)
    with pytest.raises(TypeError, match="list"):
        run + ["a"]
    assert is_block_hash_list_type(["a"])
    assert not is_block_hash_list_type(["a", b"b"])
    assert BlockHashes([], 16) == BlockHashes([], 16)


def test_equal_last_hashes_are_not_enough():
    assert BlockHashes(["a", "z"], 16) != BlockHashes(["b", "z"], 16)
    assert BlockHashes(["a"], 16) != BlockHashes(["a"], 32)


def test_token_keys_are_the_whole_sequence():
    view = TokenListView(range(32))
    key = KVCacheKey(view[:16], view[16:])
    assert len(key) == 32
    assert (key.prefix, key.query) == (view[:16], view[16:])
    elsewhere = KVCacheKey(TokenListView(range(16)), TokenListView(range(16, 32)))
    assert key == elsewhere == KVCacheKey(None, view)
    assert len({key, elsewhere, KVCacheKey(None, view)}) == 1
    assert key != KVCacheKey(None, view[16:])
    assert key != KVCacheKey(TokenListView(range(1, 17)), view[16:])
    assert TokenCacheKey(view[16:], view[:16]) != TokenCacheKey(None, view)


def test_block_keys_take_the_prefix_into_account():
    query = BlockHashes(["c"], 16)
    one, other = (KVCacheKey(BlockHashes([first], 16), query) for first in "ab")
    assert one != other
    assert one != KVCacheKey(None, query)
    assert one == KVCacheKey(None, BlockHashes(["a", "c"], 16))
    assert hash(one) == hash(KVCacheKey(None, BlockHashes(["a", "c"], 16)))
    assert BlockCacheKey(["a"], ["c"], 16) == BlockCacheKey(BlockHashes(["a"], 16), query, 16)
    assert len(one) == 32
    assert KVCacheKey(TokenListView([]), TokenListView([1])) == KVCacheKey(None, TokenListView([1]))
    assert one != BlockCacheKey(["a"], ["c"], 16)


def test_wrong_keys():
    view, run = TokenListView(range(16)), BlockHashes(["a"], 16)
    with pytest.raises(AssertionError, match="None"):
        KVCacheKey(view, None)
    with pytest.raises(AssertionError, match="BlockHashes and TokenListView"):
        KVCacheKey(run, view)
    with pytest.raises(AssertionError, match="TokenListView and BlockHashes"):
        KVCacheKey(view, run)
    with pytest.raises(AssertionError, match="32 and 16"):
        KVCacheKey(BlockHashes(["a"], 32), run)
    with pytest.raises(TypeError, match="list"):
        KVCacheKey(None, [1])
