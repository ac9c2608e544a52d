"""What tells models apart that go by one name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reprise.vllm.groups import Group
from reprise.vllm.identity import Shard, _fingerprint, host, shard_of
from reprise.vllm.settings import Settings
from reprise.vllm.worker.side import WorkerSide


def weights(folder: Path, changed: str = "") -> Path:
    """A model's file of 6 MB, of which one tensor is another one."""
    folder.mkdir(parents=True)
    names = ["embed", *(f"layers.{i}.{part}" for i in range(10) for part in ("mlp", "q", "v")), "norm"]
    save_file({name: torch.full((200, 256), 2.0 if name == changed else 1.0) for name in names},
              folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("changed", ["embed", "layers.4.mlp", "layers.7.q", "norm"])
def test_a_tensor_in_the_middle_of_the_weights_counts(tmp_path: Path, changed: str) -> None:
    known = _fingerprint(weights(tmp_path / "a"))
    assert known == _fingerprint(weights(tmp_path / "b"))
    assert known != _fingerprint(weights(tmp_path / "c", changed))


def test_other_kinds_of_weights_count_all_over(tmp_path: Path) -> None:
    content = bytearray(8 << 20)
    (tmp_path / "model.bin").write_bytes(content)
    known = _fingerprint(tmp_path)
    content[3 << 20:4 << 20] = b"\1" * (1 << 20)
    (tmp_path / "model.bin").write_bytes(content)
    assert known != _fingerprint(tmp_path)
    (tmp_path / "odd.safetensors").write_bytes(b"\xff" * 100)  # Not what its name says: no error.
    _fingerprint(tmp_path)


def config(folder: Path, load_format: str = "auto", seed: int = 0, device: str = "cpu") -> Any:
    return SimpleNamespace(
        model_config=SimpleNamespace(
            model=str(folder), revision=None, hf_config=None, dtype=torch.float32, quantization=None, seed=seed,
            get_num_kv_heads=lambda parallel: 1, hf_text_config=SimpleNamespace(to_dict=dict)),
        parallel_config=SimpleNamespace(tensor_parallel_size=1, pipeline_parallel_size=1),
        cache_config=SimpleNamespace(prefix_caching_hash_algo="sha256", cache_dtype="auto"),
        load_config=SimpleNamespace(load_format=load_format), device_config=SimpleNamespace(device_type=device),
        kv_transfer_config=SimpleNamespace(kv_role="kv_both"),
        scheduler_config=SimpleNamespace(max_num_batched_tokens=64, max_num_seqs=2),
        compilation_config=SimpleNamespace(static_forward_context={}))


def test_weights_that_are_made_up_are_not_those_of_the_files(tmp_path: Path) -> None:
    def identity(told: Any) -> bytes:
        return shard_of(told, Settings(), Group(("a.0.b",), "FullAttentionSpec", 32), layout="l", block_bytes=64,
                        pp_rank=0, tp_rank=0).namespace().id

    folder = weights(tmp_path / "a")
    ids = [identity(config(folder, *how)) for how in (("auto", 0), ("dummy", 0), ("dummy", 1))]
    assert len(set(ids)) == 3
    assert ids[0] == identity(config(folder, "auto", 1)) == identity(config(folder, "safetensors", 0))


def test_kernels_count_on_a_device_and_its_model_does_not(tmp_path: Path) -> None:
    def identity(device: str, kernels: str) -> tuple[bytes, dict[str, str]]:
        told = config(folder, device=device)
        backend = SimpleNamespace(get_name=lambda: kernels)
        told.compilation_config.static_forward_context["a.0.b"] = SimpleNamespace(get_attn_backend=lambda: backend)
        shard = shard_of(told, Settings(), Group(("a.0.b",), "FullAttentionSpec", 32), layout="l", block_bytes=64,
                         pp_rank=0, tp_rank=0)
        return shard.namespace().id, dict(shard.extras)

    folder = weights(tmp_path / "a")
    made = [identity(*how) for how in (("cuda", "FLASH_ATTN"), ("cuda", "FLASHINFER"), ("cpu", "CPU_ATTN"))]
    assert len({known for known, _ in made}) == 3
    assert (made[0][1]["device"], made[0][1]["kernels"]) == ("cuda", "FLASH_ATTN")
    assert "kernels" not in made[2][1] and identity("cpu", "OTHER")[0] == made[2][0]


def test_a_layer_that_was_not_registered_is_a_problem(tmp_path: Path) -> None:
    class FullAttentionSpec:
        block_size = 32

    told = config(weights(tmp_path / "a"))
    group = SimpleNamespace(layer_names=["model.layers.0.attn", "model.layers.1.attn"],
                            kv_cache_spec=FullAttentionSpec())
    worker = WorkerSide(told, Settings(), SimpleNamespace(kv_cache_groups=[group], num_blocks=4))
    worker.register({"model.layers.0.attn": torch.zeros(4, 32, 8)}, 0, 0)
    assert "model.layers.1.attn" in worker.handshake().shards[0].problem
    for _ in range(2):  # vLLM may make its tensors anew.
        worker.register({name: torch.zeros(4, 32, 8) for name in group.layer_names}, 0, 0)
        assert worker.handshake().shards[0].problem == "" and len(worker._layouts) == 1
    assert Shard(host=host()).problem == ""
