"""./dev demo --seed-curl: curl lines of a text are found, run as they stand, and judged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness

DEMO = Path(__file__).resolve().parents[2] / "scripts/demo"
TEXT = """
Now ask it:

.. code-block:: shell

    curl -v "http://localhost:8888/v1/chat/completions" \\
      -H "Content-Type: application/json" \\
      -H "Authorization: Bearer sk-one" \\
      -d '{
         "model": "a-model",
         "messages": [{"role": "user", "content": "w5 w6 w7 w8"}],
         "temperature": 0.7
       }'

and later, behind a gateway,

    curl -v "http://localhost:8888/v1/chat/completions" \\
      -H "Content-Type: application/json" \\
      -H "Authorization: ABCDEF" \\
      -d '{
         "model": "a-model",
         "messages": [{"role": "user", "content": "w5 w6 w7"}]
       }'

      curl http://localhost:8888/health
"""
ANSWER = {"id": "1", "object": "chat.completion", "created": 1, "model": "a-model", "prompt_logprobs": None,
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "w9"}, "logprobs": None,
                       "finish_reason": "stop", "stop_reason": None}],
          "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1}}


@pytest.fixture(autouse=True)
def of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))


def test_lines_are_found_with_what_they_ask_for(tmp_path: Path) -> None:
    import seed_curl

    (tmp_path / "one.txt").write_text(TEXT)
    (tmp_path / "two.txt").write_text(TEXT)  # The same lines again.
    found = seed_curl.collect(tmp_path)
    assert [(r.model, r.key, r.source) for r in found] == [
        ("a-model", "sk-one", "one.txt"), ("a-model", "ABCDEF", "one.txt")]
    assert found[0].text.startswith("curl -v") and found[0].text.endswith("}'")
    assert "sk-one" not in found[0].keyless and '"temperature": 0.7' in found[0].keyless
    assert [r.model for r in seed_curl.collect(tmp_path / "absent")] == ["deepseek-r1-distill-llama-8b"]


def test_what_an_answer_lacks_is_named() -> None:
    import seed_curl

    assert seed_curl.missing(ANSWER) == []
    lacking = {**ANSWER, "choices": [{**ANSWER["choices"][0], "message": {"role": "assistant"}}]}
    del lacking["usage"]
    assert set(seed_curl.missing(lacking)) >= {"usage", "message.content", "usage.prompt_tokens"}


def test_a_server_answers_them_and_refuses_them_without_their_key(tmp_path: Path) -> None:
    import processes

    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text(TEXT)
    command = [sys.executable, str(DEMO / "demo.py"), "--seed-curl", "--seeds", str(texts), "--folder",
               str(tmp_path / "demo"), "--port", str(processes.free_port())]
    environment = {k: v for k, v in os.environ.items() if k not in harness.ENVIRONMENT}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
                          env=environment, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("a-model: 200 {") == 2, done.stdout
    assert done.stdout.count("without its key: 401") == 2, done.stdout
