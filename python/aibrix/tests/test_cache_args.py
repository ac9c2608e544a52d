import numpy as np
import pytest

from aibrix_kvcache.cache_args import parse_kvcache_api_args as parse
from aibrix_kvcache.cache_hashable import BlockHashes, KVCacheKey, TokenListView

VALIDATION = "AIBRIX_KV_CACHE_OL_TOKEN_VALIDATION_ENABLED"
VIEW = TokenListView(range(32))
RUN = BlockHashes(["a", "b"], 16)
KV = object()


@pytest.fixture(autouse=True)
def no_validation(monkeypatch):
    monkeypatch.delenv(VALIDATION, raising=False)


def same(found, expected):
    return all(a is b for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("pair", [(VIEW[:16], VIEW[16:]), (None, VIEW), (RUN[:16], RUN[16:]), (None, RUN)])
def test_forms_of_the_new_generation(pair):
    prefix, query = pair
    key = KVCacheKey(prefix, query)
    for args, kwargs in [
        ((prefix, query), {}),
        ((prefix,), {"query": query}),
        ((), {"prefix": prefix, "query": query}),
        ((key,), {}),
        ((), {"cache_key": key}),
    ]:
        assert same(parse(*args, **kwargs), (prefix, query, None))
        assert same(parse(*args, **kwargs, kv_tensors=KV), (prefix, query, KV))
    assert same(parse(prefix, query, KV), (prefix, query, KV))
    assert same(parse(key, KV), (prefix, query, KV))


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda t: np.array(t, dtype=np.int32)])
def test_forms_of_the_old_generation(kind):
    for args, kwargs in [
        ((kind([1, 2]), kind([3, 4, 5])), {}),
        ((kind([1, 2]),), {"tokens": kind([3, 4, 5])}),
        ((), {"prefix": kind([1, 2]), "tokens": kind([3, 4, 5])}),
    ]:
        prefix, query, tensors = parse(*args, **kwargs, kv_tensors=KV)
        assert (list(prefix), list(query), tensors) == ([1, 2], [3, 4, 5], KV)
        assert list(prefix + query) == [1, 2, 3, 4, 5]
        assert prefix.meta is query.meta


def test_old_forms_without_prefix():
    for prefix in (None, [], ()):
        found, query, _ = parse(prefix, [3, 4])
        assert found is None
        assert list(query) == [3, 4]
    assert list(parse([1], VIEW)[0]) == [1]


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "prefix and query missing"),
        ((None, VIEW, KV, 1), {}, "4 by position"),
        ((KVCacheKey(None, VIEW), KV, KV), {}, "3 by position"),
        ((), {"query": VIEW}, "prefix missing"),
        ((None, VIEW), {"query": VIEW}, "query is given twice"),
        ((None,), {"query": VIEW, "tokens": VIEW}, "tokens is the old name"),
        ((None, VIEW), {"timeout": 1}, "timeout"),
        ((), {"cache_key": KVCacheKey(None, VIEW), "query": VIEW}, "query does not belong"),
    ],
)
def test_wrong_counts(args, kwargs, said):
    with pytest.raises(ValueError, match=f"Invalid arguments.*{said}"):
        parse(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((VIEW,), {}, "cache_key.*TokenListView"),
        ((VIEW,), {"kv_tensors": KV}, "cache_key.*TokenListView"),
        ((), {"cache_key": 7}, "7 of type int"),
        ((None, 7), {}, "query.*7 of type int"),
        ((None, None), {}, "query.*None of type NoneType"),
        ((None, "text"), {}, "query.*'text' of type str"),
        ((7, VIEW), {}, "prefix.*7 of type int"),
        ((None, [1, "x"]), {}, "'x' at position 1"),
        ((RUN, VIEW), {}, "BlockHashes and TokenListView"),
        ((VIEW, RUN), {}, "TokenListView and BlockHashes"),
        (([1], RUN), {}, "TokenListView and BlockHashes"),
    ],
)
def test_wrong_types(args, kwargs, said):
    with pytest.raises(AssertionError, match=said):
        parse(*args, **kwargs)


def test_tokens_that_do_not_fit():
    with pytest.raises(ValueError, match="4294967296 at position 0"):
        parse(None, [2**32])


def test_validation_needs_tokens(monkeypatch):
    monkeypatch.setenv(VALIDATION, "1")
    parse(None, VIEW)
    for args in ((None, RUN), (RUN[:16], RUN[16:]), (KVCacheKey(None, RUN),)):
        with pytest.raises(AssertionError, match=f"{VALIDATION}.*BlockHashes"):
            parse(*args)
    monkeypatch.setenv(VALIDATION, "0")
    parse(None, RUN)
