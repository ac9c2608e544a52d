"""A tiny random Llama for tests: wide weights, so that one wrong byte of KV changes the tokens that come out.

    python tests/engines/tiny_model.py FOLDER [LAYERS]
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY, INTERMEDIATE = 128, 4, 2, 32, 512, 256


def make(folder: Path, layers: int = 3, seed: int = 1, *, windows: str = "", window: int = 0) -> Path:
    """Writes config.json and model.safetensors (float32); the same seed gives the same bytes.

    `windows`: a letter a layer, "s" for one that sees the last `window` tokens, "f" for one that sees all.
    """
    layers = len(windows) or layers
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "head_dim": HEAD_DIM,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "num_hidden_layers": layers,
        "intermediate_size": INTERMEDIATE, "vocab_size": VOCABULARY, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
    }
    if windows:
        kinds = {"s": "sliding_attention", "f": "full_attention"}
        config |= {"layer_types": [kinds[letter] for letter in windows], "sliding_window": window}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    weights = {"model.embed_tokens.weight": normal(VOCABULARY, HIDDEN), "model.norm.weight": torch.ones(HIDDEN),
               "lm_head.weight": normal(VOCABULARY, HIDDEN)}
    for i in range(layers):
        at = f"model.layers.{i}."
        weights[at + "input_layernorm.weight"] = torch.ones(HIDDEN)
        weights[at + "post_attention_layernorm.weight"] = torch.ones(HIDDEN)
        weights[at + "self_attn.q_proj.weight"] = normal(HEADS * HEAD_DIM, HIDDEN)
        weights[at + "self_attn.k_proj.weight"] = normal(KV_HEADS * HEAD_DIM, HIDDEN)
        weights[at + "self_attn.v_proj.weight"] = normal(KV_HEADS * HEAD_DIM, HIDDEN)
        weights[at + "self_attn.o_proj.weight"] = normal(HIDDEN, HEADS * HEAD_DIM)
        weights[at + "mlp.gate_proj.weight"] = normal(INTERMEDIATE, HIDDEN)
        weights[at + "mlp.up_proj.weight"] = normal(INTERMEDIATE, HIDDEN)
        weights[at + "mlp.down_proj.weight"] = normal(HIDDEN, INTERMEDIATE)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_gemma(folder: Path, window: int, seed: int = 1) -> Path:
    """A Gemma 4 of two full layers among four with a window, whose heads are half as wide: vLLM gives them blocks of
    twice as many tokens."""
    from transformers import Gemma4ForCausalLM, Gemma4TextConfig

    torch.manual_seed(seed)
    config = Gemma4TextConfig(
        architectures=["Gemma4ForCausalLM"], vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2, num_hidden_layers=6,
        sliding_window=window, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM,
        num_global_key_value_heads=KV_HEADS, global_head_dim=2 * HEAD_DIM, hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=VOCABULARY, max_position_embeddings=4096, initializer_range=0.2)
    model = Gemma4ForCausalLM(config).float()
    with torch.no_grad():
        model.model.embed_tokens.weight *= 0.2  # So that what comes out is not what went in.
    model.save_pretrained(folder)
    return folder


def add_tokenizer(folder: Path) -> Path:
    """One word a token, and a chat template: enough for vLLM's server."""
    words = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, VOCABULARY))]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": "<unk>"},
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "chat_template": "{% for m in messages %}{{ m['content'] }} {% endfor %}",
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


if __name__ == "__main__":
    make(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
