"""An engine of test_two_engines.py over the drop-in: `python engine_process.py CALL [CALL...]`.

Each CALL is answered with a list on a line: `store` with the tokens stored, `load` with those found by a new manager,
all bytes checked, `load-l2` with those found by one without memory of its own, `flush` with the status. The environment
is the caller's.
"""

from __future__ import annotations

import json
import os
import sys

from rig import PREFIX, acquired, as_hashes, as_tokens, put_prompt, spec_of

from aibrix_kvcache import BaseKVCacheManager, KVCacheConfig, ModelSpec

PROMPTS = [(list(range(70)), as_tokens), (list(range(500, 540)), as_hashes)]


def load(cache: BaseKVCacheManager) -> list[object]:
    answers: list[object] = []
    for tokens, form in PROMPTS:
        status = cache.exists(*form(tokens, 0))
        if status.is_error():
            assert cache.acquire(*form(tokens, 0)).is_error()
            answers.append("ERROR")
            continue
        answers.append(status.get(default=0))
        assert acquired(cache, tokens, form=form) == answers[-1]
        assert not cache.exists(*form([9, *tokens[1:]], 0)).is_ok()
    return answers


def answer(call: str) -> list[object]:
    if call == "load-l2":
        os.environ[PREFIX + "L1_CACHE_ENABLED"] = "0"
    cache = BaseKVCacheManager(KVCacheConfig(spec_of(), ModelSpec(1024), model="a model"))
    answers = load(cache)
    if call == "store":
        answers += [put_prompt(cache, tokens, 0, form).get() for tokens, form in PROMPTS]
        answers += load(cache)
        answers.append(cache.flush().error_code.name)
    cache.close()
    return answers


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(json.dumps(answer(name)) + "\n")
