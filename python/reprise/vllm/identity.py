"""Which engines may share blocks: the namespace of a worker's shard, made of vLLM's configuration.

Worker and scheduler sides exchange it as `Shard`, plain data, so that both name the same blocks.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from .. import _native
from .groups import Group
from .settings import Settings

_SAMPLE = 4 << 10  # Bytes looked at in each tensor, or in each stretch of a file of another kind.
_SAMPLES = 4096  # At most, over all files: folders may be on a network, and experts are many.
_MAX_TABLE = 64 << 20


@dataclass(frozen=True)
class Shard:
    """What one rank holds of a block of one KV group; or why it can hold nothing."""

    model: str = ""
    revision: str = ""
    dtype: str = ""
    layout: str = ""
    block_tokens: int = 0
    block_bytes: int = 0
    layers: tuple[int, int] = (0, 0)
    heads: tuple[int, int] = (0, 0)
    salt: str = ""
    extras: tuple[tuple[str, str], ...] = ()
    host: str = ""
    """Not part of the identity: where this rank runs."""
    problem: str = ""

    def namespace(self, scope: str = "") -> _native.Namespace:
        """`scope`: another one after each reset of the cache, so that nothing from before is found."""
        extras = dict(self.extras)
        if scope:
            extras["scope"] = scope
        return _native.Namespace(
            model=self.model, revision=self.revision, dtype=self.dtype, layout=self.layout,
            block_tokens=self.block_tokens, block_bytes=self.block_bytes, layers=range(*self.layers),
            heads=range(*self.heads), salt=self.salt, extras=extras)

    def broken(self, problem: str) -> Shard:
        """The same, of which nothing can be cached."""
        return replace(self, problem=problem)


def shard_of(config: Any, settings: Settings, group: Group, *, layout: str, block_bytes: int, pp_rank: int,
             tp_rank: int) -> Shard:
    """The shard of one rank and KV group; `config` is vLLM's VllmConfig."""
    model, parallel, cache = config.model_config, config.parallel_config, config.cache_config
    name, revision = _model_identity(model)
    tp = int(parallel.tensor_parallel_size)
    heads = int(model.get_num_kv_heads(parallel))
    numbers = sorted(int(found.group(1)) for found in map(re.compile(r"\.(\d+)\.").search, group.layers) if found)
    first, last = (numbers[0], numbers[-1] + 1) if numbers else (0, len(group.layers))
    extras = {
        "engine": "vllm",
        "hash": str(cache.prefix_caching_hash_algo),
        "model_dtype": str(model.dtype).removeprefix("torch."),
        "quantization": str(model.quantization or "none"),
        "config": _config_digest(model),
        "attention": f"{group.kind}:{group.window or 'all'}",
        "layers": hashlib.sha256("|".join(group.layers).encode()).hexdigest()[:32],
        "tp": f"{tp_rank}/{tp}",
        "pp": f"{pp_rank}/{parallel.pipeline_parallel_size}",
    }
    if str(config.load_config.load_format) == "dummy":  # Not what the files have.
        extras["weights"] = f"dummy:{model.seed}"
    device = str(config.device_config.device_type)
    if device == "cpu":
        extras["cpu"] = _cpu_kind()
    else:
        extras["device"] = _device_kind(device)
        extras["kernels"] = _kernels(config, group)
    return Shard(
        model=settings.model or name, revision=revision, dtype=_cache_dtype(model, cache), layout=layout,
        block_tokens=group.block_tokens, block_bytes=block_bytes, layers=(first, last),
        heads=(tp_rank * heads, (tp_rank + 1) * heads), salt=settings.salt, host=host(),
        extras=tuple(sorted(extras.items())))


def host() -> str:
    """The same for all processes that can share memory with this one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _cache_dtype(model: Any, cache: Any) -> str:
    dtype = str(cache.cache_dtype)
    return str(model.dtype).removeprefix("torch.") if dtype == "auto" else dtype


def _model_identity(model: Any) -> tuple[str, str]:
    """Name and revision. A folder goes by its last name and by what is in it, so that hosts can share."""
    folder = Path(str(model.model))
    if folder.is_dir():
        return folder.resolve().name, _fingerprint(folder)
    commit = getattr(model.hf_config, "_commit_hash", None)
    return str(model.model), str(model.revision or commit or "none")


def _fingerprint(folder: Path) -> str:
    """Of configuration and weights, without reading all of them: names, sizes, and a sample of every tensor.

    Two trainings of one model may differ in a few tensors alone.
    """
    digest = hashlib.sha256()
    paths = [path for path in sorted(folder.iterdir())
             if path.name == "config.json" or path.suffix in (".safetensors", ".bin", ".pt", ".gguf")]
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for at in _places(file, path, size, max(16, _SAMPLES // len(paths))):
                file.seek(at)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:32]


def _places(file: BinaryIO, path: Path, size: int, limit: int) -> list[int]:
    """Where to look: in the middle of each tensor, or all over the file where its tensors are not known."""
    spread = list(range(0, size, max(_SAMPLE, size // limit)))
    if path.suffix != ".safetensors":
        return [*spread, max(0, size - _SAMPLE)]
    try:
        table = int.from_bytes(file.read(8), "little")
        if table > _MAX_TABLE:
            return spread
        ends = [tensor["data_offsets"] for name, tensor in json.loads(file.read(table)).items()
                if name != "__metadata__"]
        middles = [8 + table + max(int(begin), (int(begin) + int(end) - _SAMPLE) // 2) for begin, end in ends]
    except (ValueError, KeyError, TypeError, AttributeError):
        return spread
    return [*range(0, 8 + table, _SAMPLE), *sorted(middles)[::-(-len(middles) // limit) or 1]]


def _config_digest(model: Any) -> str:
    """Of what the engine was told about the model: overrides of RoPE and the like change the KV."""
    told = model.hf_text_config.to_dict()
    for noise in ("_name_or_path", "transformers_version", "_commit_hash"):
        told.pop(noise, None)
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _device_kind(device: str) -> str:
    """Not which model of it: the bytes are those of layout and kernels. But fp8 is another type on AMD's."""
    import torch

    return "rocm" if device == "cuda" and torch.version.hip else device


def _kernels(config: Any, group: Group) -> str:
    """vLLM's attention backends of a group: two that see tensors of one shape may mean different things by them."""
    layers = config.compilation_config.static_forward_context
    names = set()
    for layer in group.layers:
        backend = getattr(layers.get(layer), "get_attn_backend", None)
        names.add(str(backend().get_name()) if backend else "unknown")
    return "+".join(sorted(names))


def _cpu_kind() -> str:
    """The CPU kernels pack a block as suits the instruction set, and may do so differently in another version."""
    import torch
    import vllm

    has = [name for name in ("amx_tile", "avx512", "avx2") if getattr(torch.cpu, f"_is_{name}_supported", bool)()]
    return f"{platform.machine()}:{'+'.join(has) or 'base'}:vllm-{'.'.join(vllm.__version__.split('.')[:2])}"
