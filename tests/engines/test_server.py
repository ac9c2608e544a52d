"""vLLM's own OpenAI server with an environment of older deployments: the plugin adds the connector to its flags."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import harness
import tiny_model

NAME = "test-deepseek-coder-33b-instruct"
KEY = "sk-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server as it was deployed before there were connectors: switched on by variables alone."""
    folder = tiny_model.add_tokenizer(tiny_model.make(tmp_path_factory.mktemp("models") / "tiny"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"VLLM_USE_VINEYARD_CACHE": "1", "VINEYARD_CACHE_CPU_MEM_LIMIT_GB": "0.25",
                 "AIBRIX_LLM_KV_CACHE": "1", "AIBRIX_LLM_KV_CACHE_KV_CACHE_NS": "aibrix",
                 "AIBRIX_LLM_KV_CACHE_SOCKET": "/no/such.sock", "VINEYARD_CACHE_METRICS_ENABLED": "1"}
    command = ["vllm.entrypoints.openai.api_server", "--port", str(port), "--host", "127.0.0.1",
               "--model", str(folder), "--served-model-name", NAME, "--trust-remote-code", "--max-model-len", "1024",
               "--enable-prefix-caching", "--disable-fastapi-docs", "--dtype", "float32",
               "--enforce-eager", "--block-size", "32", "--max-num-seqs", "4", "--num-gpu-blocks-override", "64",
               "--enable-prompt-tokens-details", "--api-key", KEY]
    with harness.served(command, variables, port, folder.parent / "server.log") as url:
        yield url


def ask(url: str, words: str) -> Any:
    body = {"model": NAME, "messages": [{"role": "user", "content": words}], "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def metric(url: str, name: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"vllm:{name}{{"))


def test_prompts_come_back_after_the_engine_forgot_them(server: str) -> None:
    prompts = [" ".join(f"w{3 + (i * 7 + k * k) % 500}" for k in range(600)) for i in range(8)]
    first = [ask(server, prompt) for prompt in prompts]  # Far more than the engine's own 64 blocks.
    assert first[0]["usage"]["prompt_tokens_details"] in (None, {"audio_tokens": None, "cached_tokens": None}) or not (
        first[0]["usage"]["prompt_tokens_details"].get("cached_tokens"))
    again = [ask(server, prompt) for prompt in prompts]
    for before, after in zip(first, again, strict=True):
        assert before["choices"][0]["message"] == after["choices"][0]["message"]
        details = after["usage"]["prompt_tokens_details"]
        assert details["cached_tokens"] >= 0.98 * (after["usage"]["prompt_tokens"] // 32 * 32)
    assert metric(server, "external_prefix_cache_hits_total") > 0
    assert metric(server, "reprise_loaded_blocks_total") > 0
    assert metric(server, "reprise_saved_bytes_total") > 0
    # The connector goes by an old name: the drop-in's metrics have come through three processes.
    assert metric(server, "kv_cache_ol_num_ops_total") > 2 * len(prompts)
    hits = metric(server, "external_prefix_cache_hits_total")
    assert metric(server, "ol_connector_iteration_received_tokens_sum") == hits
    harness.eventually(lambda: ask(server, "w3") and metric(server, "reprise_used_bytes") > 0, "the memory is in use")
    assert metric(server, "kv_cache_ol_capacity") == 2 * (256 << 20)  # Under the names of both resources.


def test_without_the_key_nothing_is_answered(server: str) -> None:
    request = urllib.request.Request(f"{server}/v1/models")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 401
