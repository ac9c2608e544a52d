"""./dev demo: what it shows is judged, what it starts is ended, and curl lines of a text are run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def answers(*, cached: int, number: float = -0.5, word: str = "w7") -> list[Any]:
    from asking import Answer

    return [Answer(tokens=[(word, number)], seconds=1.0, prompt_tokens=100, cached_tokens=cached)]


def test_other_answers_and_prompts_that_were_not_found_are_problems() -> None:
    from demo import Row, Show

    show = Show(1, 100)
    show.rows = [Row("computed", answers(cached=0)), Row("own", answers(cached=96, number=-0.6)),
                 Row("good", answers(cached=96, number=-0.6))]
    assert show.problems() == [] and "DIFFERENT" not in show.table()
    show.rows += [Row("numbers", answers(cached=96)), Row("words", answers(cached=96, number=-0.6, word="w8")),
                  Row("lost", answers(cached=64, number=-0.6))]
    assert [p.split(":")[0] for p in show.problems()] == ["numbers", "words", "lost"]
    assert show.table().count("DIFFERENT") == 2


def test_what_was_started_is_ended_and_what_ends_by_itself_is_told_with_its_words(tmp_path: Path) -> None:
    import processes

    with pytest.raises(processes.Failed, match="the one ended with 3(.|\n)*the reason"), processes.Stage() as stage:
        stays = stage.start("the other", ["sleep", "1000"], tmp_path / "other.log")
        stage.start("the one", ["bash", "-c", "echo the reason; exit 3"], tmp_path / "one.log")
        stage.wait("something", lambda: False)
    with pytest.raises(processes.Failed):
        stays.check()


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
