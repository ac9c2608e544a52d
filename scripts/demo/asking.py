"""Questions to an OpenAI-compatible server, asked by curl, and what came back."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from processes import Failed

PATIENCE = 300  # Seconds for one answer.


@dataclass
class Answer:
    """Equality is that of tokens and log probabilities."""

    tokens: list[tuple[str, float]] = field(default_factory=list)
    """Each token's text and log probability."""
    seconds: float = field(default=0.0, compare=False)
    """Until the first token arrived."""
    prompt_tokens: int = field(default=0, compare=False)
    cached_tokens: int = field(default=0, compare=False)
    """Tokens of the prompt that were not computed."""


def question(model: str, words: str, tokens: int) -> dict[str, Any]:
    """The body of a request for `tokens` tokens, the likeliest each time, as they are made."""
    return {"model": model, "messages": [{"role": "user", "content": words}], "max_tokens": tokens, "temperature": 0,
            "ignore_eos": True, "logprobs": True, "stream": True, "stream_options": {"include_usage": True}}


def ask(url: str, body: dict[str, Any]) -> Answer:
    """POSTs `body` to `url`/v1/chat/completions."""
    command = ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", str(PATIENCE),
               "-H", "Content-Type: application/json", "-d", "@-", f"{url}/v1/chat/completions"]
    answer, other = Answer(), ""
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as curl:
        assert curl.stdin and curl.stdout
        curl.stdin.write(json.dumps(body))
        curl.stdin.close()
        for line in curl.stdout:
            if line.startswith("data: {"):
                _take(answer, json.loads(line[len("data: "):]), time.perf_counter() - began)
            elif line.strip() not in ("", "data: [DONE]"):
                other += line
    if curl.returncode or not answer.tokens or not answer.prompt_tokens:
        raise Failed(f"{url} did not answer (curl: {curl.returncode}): {other.strip()[:500]}")
    return answer


def _take(answer: Answer, chunk: dict[str, Any], seconds: float) -> None:
    if chunk.get("error"):
        raise Failed(f"the server says: {chunk['error']}")
    for choice in chunk.get("choices") or ():
        for token in (choice.get("logprobs") or {}).get("content") or ():
            answer.seconds = answer.seconds or seconds
            answer.tokens.append((token["token"], token["logprob"]))
    usage = chunk.get("usage")
    if usage:
        answer.prompt_tokens = usage["prompt_tokens"]
        answer.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
