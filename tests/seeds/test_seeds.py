"""Deployments as published texts show them, with another model, start, find their prompts again and answer as without
a cache.

The texts are not part of this project. SEEDS_FOLDER names the folder they lie in; without it, it is shared/seeds beside
the checkout.
"""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import reprise
from reprise.vllm.drop_in import variables as drop_in
from reprise.vllm.drop_in.command_line import SWITCHES

import extract
import harness
import here
import tiny_model
from test_environment import documented, whole

FOLDER = Path(os.environ.get("SEEDS_FOLDER") or Path(__file__).resolve().parents[3] / "shared" / "seeds")
pytestmark = pytest.mark.skipif(not any(FOLDER.glob("*.txt")),
                                reason=f"no texts in {FOLDER}: SEEDS_FOLDER may name another folder")
PROMPTS = harness.prompts_of(300, 320)
BLOCKS = sum(len(prompt) // 32 for prompt in PROMPTS)


def find(*variables: str, without: tuple[str, ...] = ()) -> extract.Deployment:
    """The one deployment that sets all of these variables."""
    (found,) = [one for one in extract.deployments(FOLDER)
                if one.environment.keys() >= set(variables) and not one.environment.keys() & set(without)]
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model and a tokenizer."""
    return tiny_model.add_tokenizer(tiny_model.make(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def expected(model: Path) -> list[harness.Answer]:
    with harness.Engine(model, None) as engine:
        return engine.ask(PROMPTS)


def check(engine: harness.Engine, expected: list[harness.Answer]) -> None:
    """It stores, and finds all of it when it has forgotten."""
    for _ in range(2):
        answers = engine.ask(PROMPTS)
        assert answers == expected
    assert sum(answer.cached for answer in answers) == harness.ideal(PROMPTS)


def test_every_variable_is_known() -> None:
    names = extract.variables(FOLDER)
    assert len(names) > 20
    assert names - set(SWITCHES) <= {whole(name) for name in documented()}


def test_l1_by_a_connector_name(model: Path, expected: list[harness.Answer]) -> None:
    deployment = find("AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB")
    with here.engine(here.adapted(deployment, model), here.environment(deployment)) as (engine, said):
        for flag in ("--swap-space 0", "--disable-log-requests"):
            assert any(flag in text for text in said)
        assert engine.connector.__class__.__name__ == "AIBrixOffloadingConnectorV1Type3"
        assert engine.connector._scheduler._lookup._cache.stats().l1.capacity_bytes == 256 << 20
        check(engine, expected)


def test_l2_only(model: Path, expected: list[harness.Answer], tmp_path: Path) -> None:
    deployment = find("AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND")
    with pytest.raises(reprise.ConfigError, match="'INFINISTORE', which this version does not have; there are MOCK"):
        drop_in.read(here.environment(deployment), 1)
    instead = here.environment(deployment, AIBRIX_KV_CACHE_OL_L2_CACHE_BACKEND="shfs",
                               AIBRIX_KV_CACHE_OL_SHFS_ROOT=str(tmp_path))
    arguments = here.adapted(deployment, model)
    flag = arguments.index("--kv-transfer-config") + 1
    settings = {**json.loads(arguments[flag]), "kv_connector_extra_config": {**harness.PATIENT, "l2_ingest": "ALL"}}
    arguments[flag] = json.dumps(settings)
    with here.engine(arguments, instead) as (engine, _):
        assert engine.connector._scheduler._lookup._cache.stats().l1.capacity_bytes == 256 << 20  # Staging.
        check(engine, expected)
        assert engine.connector._scheduler._lookup._cache.flush(timeout=harness.PATIENCE)
        assert sum(path.stat().st_size > 1 << 12 for path in tmp_path.rglob("*") if path.is_file()) == BLOCKS


def test_the_host_tier_by_variables_alone(model: Path, expected: list[harness.Answer], tmp_path: Path) -> None:
    deployment = find("AIBRIX_LLM_KV_CACHE_SOCKET")
    with harness.Daemon(tmp_path, "--l1-capacity", "64MiB") as daemon:
        variables = here.environment(deployment, AIBRIX_LLM_KV_CACHE_SOCKET=str(daemon.socket))
        with here.engine(here.adapted(deployment, model), variables) as (engine, said):
            assert "added --kv-transfer-config" in said[0]
            assert engine.connector._server is None
            check(engine, expected)
        assert reprise.Cache.open(daemon.url).stats().l1.blocks == BLOCKS


def server(arguments: list[str], variables: dict[str, str], port: int, log: Path) -> AbstractContextManager[str]:
    """vLLM's server by the launcher, until it is healthy; its URL."""
    return harness.served(["reprise.vllm.serve", *arguments], variables, port, log)


def ask(url: str, name: str, words: str) -> Any:
    body = {"model": name, "messages": [{"role": "user", "content": words}], "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_a_server_and_the_remote_tier_by_variables_alone(model: Path, tmp_path: Path) -> None:
    deployment = find("AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT")
    endpoint, port = f"127.0.0.1:{free_port()}", free_port()
    name = deployment.arguments[deployment.arguments.index("--served-model-name") + 1]
    variables = here.environment(deployment, AIBRIX_LLM_KV_CACHE_RPC_ENDPOINT=endpoint,
                                 AIBRIX_LLM_KV_CACHE_SOCKET=str(tmp_path / "vineyard.sock"))
    prompts = [" ".join(f"w{3 + (i * 7 + k * k) % 500}" for k in range(600)) for i in range(6)]
    with harness.Daemon(tmp_path, "--l1-capacity", "64MiB", "--listen-tcp", endpoint) as remote:
        with server(here.adapted(deployment, model, port), variables, port, tmp_path / "log") as url:
            first = [ask(url, name, prompt) for prompt in prompts]  # Far more than the engine's own 64 blocks.

            def all_comes_back() -> bool:
                """On a machine that is busy a lookup may be given up, and computed instead."""
                again = [ask(url, name, prompt) for prompt in prompts]
                assert [one["choices"][0]["message"] for one in again] == [
                    one["choices"][0]["message"] for one in first]
                return all((use := one["usage"])["prompt_tokens_details"]["cached_tokens"]
                           >= 0.98 * (use["prompt_tokens"] // 32 * 32) for one in again)

            harness.eventually(all_comes_back, "all prompts come from the cache")
        blocks = reprise.Cache.open(remote.url).stats().l1.blocks
        assert 0 < blocks <= 6 * (600 // 32)  # What waits too long for the remote tier is dropped.
    log = (tmp_path / "log").read_text()
    assert "VLLM_USE_VINEYARD_CACHE is set: added --kv-transfer-config" in log
    assert f"L2: tcp://{endpoint}, ingestion ALL" in log
    assert "L1: 0.25 GiB for each of 1 ranks, 0.25 GiB shared by them" in log
    assert "AIBRIX_LLM_KV_CACHE_CHUNK_SIZE has no effect: blocks are those of vLLM, of 32 tokens" in log
