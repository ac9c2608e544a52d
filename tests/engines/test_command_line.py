"""Command lines of older deployments: through the launcher, and of vLLM's own server with nothing but our plugin."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from reprise.vllm import plugin, serve
from reprise.vllm.drop_in.command_line import given, lacking

ADDED = ["--kv-transfer-config", '{"kv_connector": "AIBrixOffloadingConnector", "kv_role": "kv_both"}']
CHUNK = "AIBRIX_LLM_KV_CACHE_CHUNK_SIZE"


def test_the_plugin_harms_no_vllm(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is called in every process of every vLLM of the environment."""
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    monkeypatch.setitem(sys.modules, "vllm.distributed.kv_transfer.kv_connector.factory", None)
    plugin.register()
    assert "left as it is" in caplog.text


def test_the_launcher_mends_a_command_line() -> None:
    flags = {"--model", "--port", "--kv-transfer-config", "--max-num-seqs"}
    line = ["--model", "m", "--use-v2-block-manager", "--swap-space=4", "--port", "8000", "--old-size", "7"]

    def unknown(arguments: list[str]) -> list[str]:
        found = []
        for i, word in enumerate(arguments):
            name = word.split("=")[0]
            before = arguments[i - 1] if i else ""
            if (name.startswith("--") and name not in flags) or (
                    not word.startswith("--") and before.startswith("--") and before not in flags):
                found.append(word)
        return found

    mended, warnings = serve.mend(line, {}, unknown)
    assert mended == ["--model", "m", "--port", "8000"]
    assert len(warnings) == 3 and "--swap-space=4" in warnings[1] and "--old-size 7" in warnings[2]
    mended, _ = serve.mend(["--model", "m"], {"AIBRIX_LLM_KV_CACHE": "1"}, unknown)
    assert mended[2:] == ADDED
    given = ["--model", "m", "--kv-transfer-config", "{}"]
    assert serve.mend(given, {"VLLM_USE_VINEYARD_CACHE": "1"}, unknown)[0] == given
    _, warnings = serve.mend(["--model", "m"], {"VLLM_USE_V1": "0"}, unknown)
    assert "VLLM_USE_V1" in warnings[0]


def test_the_model_is_named_as_for_vllm_serve() -> None:
    """The server's module would start the model that vLLM has for examples."""
    assert serve.model_flag(["/models/m", "--port", "8000"]) == ["--model", "/models/m"]
    assert serve.model_flag(["--model", "/models/m", "--port", "8000"]) == []


@pytest.mark.parametrize(("value", "words", "said"), [
    ("64", ["--block-size", "64"], "added --block-size 64"),
    ("16", [], "of a multiple of 32 tokens here"),
    ("", [], ""),
])
def test_a_chunk_is_a_block_where_blocks_can_be_so(value: str, words: list[str], said: str) -> None:
    added, texts = lacking(["--model", "m"], {CHUNK: value}, block_unit=32)
    assert added == words
    assert [said in text for text in texts] == [True] * bool(said)
    assert lacking(["--block-size=128"], {CHUNK: value}, block_unit=32) == ([], [])


def test_what_is_given_in_any_spelling_is_not_added(tmp_path: Path) -> None:
    file = tmp_path / "vllm.yaml"
    file.write_text("model: m\nkv_transfer_config:\n  kv_connector: X\n")
    for words in (["--kv-transfer-config", "{}"], ["--kv_transfer_config={}"], ["--kv-transfer-config.kv_role", "x"],
                  ["--config", str(file)], [f"--config={file}"]):
        assert given(words, "--kv-transfer-config"), words
        assert lacking(words, {"AIBRIX_LLM_KV_CACHE": "1"}, block_unit=16) == ([], [])
    for words in (["--model", "--kv-cache-dtype"], ["--config", str(tmp_path / "none")], ["kv-transfer-config"]):
        assert not given(words, "--kv-transfer-config"), words


@pytest.mark.parametrize(("command", "is_one"), [
    ("/x/vllm/entrypoints/openai/api_server.py --model m", True), ("/bin/vllm serve m", True),
    ("/x/vllm/entrypoints/cli/main.py serve m", True), ("/bin/vllm bench serve", False), ("train.py serve", False),
])
def test_only_a_server_gets_a_connector(command: str, is_one: bool, monkeypatch: pytest.MonkeyPatch,
                                        caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    monkeypatch.delenv("VLLM_USE_VINEYARD_CACHE", raising=False)
    words = command.split()
    plugin.supply(words)
    assert words == command.split() and not caplog.messages
    monkeypatch.setenv("VLLM_USE_VINEYARD_CACHE", "1")
    plugin.supply(words)
    assert words == [*command.split(), *(ADDED if is_one else [])]
    (said,) = set(caplog.messages)  # What captures may be at 'vllm' as well as at the root.
    assert ("added --kv-transfer-config" in said) == is_one
    assert ('KVTransferConfig(kv_connector="AIBrixOffloadingConnector"' in said) == (not is_one)
    plugin.supply(words)  # Once more, in another of its processes.
    assert words.count("--kv-transfer-config") == is_one


def test_a_worker_of_ray_is_told_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    monkeypatch.setenv("VLLM_USE_VINEYARD_CACHE", "1")
    plugin.supply(["/x/ray/_private/workers/default_worker.py", "--node-ip-address=127.0.0.1"])
    assert not caplog.messages


def test_the_launcher_needs_no_advice(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    monkeypatch.setenv("VLLM_USE_VINEYARD_CACHE", "1")
    words = ["/x/reprise/vllm/serve.py", "--model", "m"]
    plugin.supply(words)
    assert len(words) == 3
    assert not caplog.messages


def test_vllm_reads_what_the_plugin_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm import plugins
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    monkeypatch.setenv("AIBRIX_LLM_KV_CACHE", "1")
    monkeypatch.setenv(CHUNK, "64")
    monkeypatch.setattr(plugins, "plugins_loaded", False)  # As in a process that begins.
    monkeypatch.setattr(sys, "argv", ["/x/vllm/entrypoints/openai/api_server.py", "--model", "m"])
    read = make_arg_parser(FlexibleArgumentParser()).parse_args()
    assert read.kv_transfer_config.kv_connector == "AIBrixOffloadingConnector"
    assert read.block_size == 64
