import pytest
import torch

from aibrix_kvcache.config import KVCacheConfig
from aibrix_kvcache.spec import KVCacheBlockLayout, KVCacheBlockSpec, KVCacheTensorSpec, ModelSpec

BLOCK_SIZE = "AIBRIX_KV_CACHE_OL_BLOCK_SIZE"


@pytest.fixture(autouse=True)
def no_block_size(monkeypatch):
    monkeypatch.delenv(BLOCK_SIZE, raising=False)


def block_spec(ntokens=16, dtype=torch.bfloat16, layout=KVCacheBlockLayout.LCND):
    return KVCacheBlockSpec(ntokens, dtype, layout, KVCacheTensorSpec(heads=[2, 3], layers=[0, 1, 2], head_size=8))


@pytest.mark.parametrize(
    ("layout", "shape", "token_dim", "signature"),
    [
        (KVCacheBlockLayout.NCLD, (16, 2, 3, 2, 8), 0, "ncld16"),
        (KVCacheBlockLayout.LCND, (3, 2, 16, 2, 8), 2, "lcnd16"),
    ],
)
def test_shapes(layout, shape, token_dim, signature):
    spec = block_spec(layout=layout)
    assert spec.block_shape == spec.engine_block_shape == shape
    assert spec.block_shape[spec.block_shape_token_dim] == 16
    assert spec.block_shape_token_dim == token_dim
    assert spec.signature == signature
    assert spec.block_nbytes == torch.empty(shape, dtype=torch.bfloat16).nbytes


def test_the_environment_sets_the_block_of_the_cache(monkeypatch):
    monkeypatch.setenv(BLOCK_SIZE, "64")
    spec = block_spec()
    assert (spec.block_ntokens, spec.engine_block_ntokens) == (64, 16)
    assert spec.block_shape == (3, 2, 64, 2, 8)
    assert spec.engine_block_shape == (3, 2, 16, 2, 8)
    assert spec.block_nbytes == 4 * spec.engine_block_nbytes
    assert spec.signature == "lcnd64"


@pytest.mark.parametrize("text", ["0", "-1"])
def test_the_environment_may_leave_it_alone(monkeypatch, text):
    monkeypatch.setenv(BLOCK_SIZE, text)
    assert block_spec().block_ntokens == 16


def test_wrong_block_sizes_of_the_environment(monkeypatch):
    monkeypatch.setenv(BLOCK_SIZE, "24")
    with pytest.raises(AssertionError, match="24"):
        block_spec()
    monkeypatch.setenv(BLOCK_SIZE, "many")
    with pytest.raises(ValueError, match=f"{BLOCK_SIZE}: 'many'"):
        block_spec()


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: KVCacheTensorSpec([], [0], 8), ValueError, r"heads.*\[\]"),
        (lambda: KVCacheTensorSpec([0], [], 8), ValueError, r"layers.*\[\]"),
        (lambda: KVCacheTensorSpec([0], [0], -8), ValueError, "-8"),
        (lambda: KVCacheTensorSpec([0], [0], 8.5), TypeError, "8.5"),
        (lambda: block_spec(ntokens=0), ValueError, "block_ntokens.*0"),
        (lambda: block_spec(dtype="bfloat16"), TypeError, "'bfloat16'"),
        (lambda: block_spec(layout="LCND"), TypeError, "'LCND'"),
        (lambda: ModelSpec(0), ValueError, "max_model_len.*0"),
    ],
)
def test_wrong_values_are_named(make, error, said):
    with pytest.raises(error, match=said):
        make()


def test_configurations_of_both_generations():
    spec, model = block_spec(), ModelSpec(4096)
    assert model.max_num_batched_tokens == -1
    new = KVCacheConfig(spec, model, True)
    assert (new.block_spec, new.model_spec, new.multi_threaded) == (spec, model, True)
    old = KVCacheConfig(block_spec=spec)
    assert (old.model_spec, old.multi_threaded, old.model, old.url) == (None, False, None, None)
    assert KVCacheConfig(spec, model="llama", url="embedded:").model == "llama"
