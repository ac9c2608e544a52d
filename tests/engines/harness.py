"""Real vLLM engines over a tiny model, what they answer, and a daemon of one's own.

As a program: `harness.py MODEL CACHE_URL COUNT...` answers prompts in a process of its own and prints what came out.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BLOCK = 32
PATIENCE = 120.0
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_LOGGING_LEVEL": "WARNING",
}
os.environ.update(ENVIRONMENT)  # vLLM reads some of it when it is imported.
# The tests wait long for a machine that is busy, and not for a cache.
PATIENT = {"lookup_timeout": 10, "fetch_timeout": 60, "load_timeout": 10, "store_timeout": 10, "start_timeout": 60,
           "fetch_if_slower": True}


@dataclasses.dataclass
class Answer:
    """What one prompt got. Equality is that of tokens and log probabilities, bit for bit."""

    tokens: list[int]
    logprobs: list[list[tuple[int, float]]]
    cached: int = dataclasses.field(compare=False)


class Engine:
    """One engine in this process. `extra`: kv_connector_extra_config; None for no connector."""

    def __init__(self, model: Path, extra: dict[str, Any] | None, *, name: str = "RepriseConnector",
                 module: str | None = "reprise.vllm", role: str = "kv_both", **arguments: Any) -> None:
        from vllm import LLM
        from vllm.config import KVTransferConfig

        settings: dict[str, Any] = dict(
            model=str(model), skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=1024,
            block_size=BLOCK, max_num_seqs=4, max_num_batched_tokens=1024, enable_prefix_caching=True, seed=0,
            disable_log_stats=False, num_gpu_blocks_override=512)
        settings.update(arguments)
        if extra is not None:
            settings["kv_transfer_config"] = KVTransferConfig(
                kv_connector=name, kv_connector_module_path=module, kv_role=role, kv_connector_extra_config=extra)
        self.llm = LLM(**settings)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        clean_up()

    @property
    def connector(self) -> Any:
        """The scheduler's half."""
        return self.llm.llm_engine.engine_core.engine_core.scheduler.connector

    @property
    def leases(self) -> int:
        """Held in the cache by anybody."""
        count: int = self.connector._scheduler._lookup._cache.stats().leases
        return count

    def ask(self, prompts: list[list[int]], *, tokens: int = 12, at_once: bool = False) -> list[Answer]:
        """Answers, one prompt after the other without anything left in the engine, or all at once."""
        if at_once:
            self.forget()
            return self._generate(prompts, tokens)
        answers = []
        for prompt in prompts:
            self.forget()
            answers += self._generate([prompt], tokens)
        return answers

    def begin(self, prompts: list[list[int]], tokens: int = 12) -> list[str]:
        """Gives all to the engine, which has made no step yet; their names."""
        self.forget()
        names = [str(i) for i in range(len(prompts))]
        for name, prompt in zip(names, prompts, strict=True):
            self.llm.llm_engine.add_request(name, {"prompt_token_ids": prompt}, sampling(tokens))
        return names

    def abort(self, names: list[str]) -> None:
        """Those are not wanted any more."""
        self.llm.llm_engine.abort_request(names)

    def step(self) -> dict[str, Answer]:
        """What one step brought to its end."""
        return {o.request_id.split("-")[0]: answer_of(o) for o in self.llm.llm_engine.step() if o.finished}

    def finish(self) -> list[Answer]:
        """Steps until nothing is left to do; in the order of the names."""
        answers: dict[str, Answer] = {}
        eventually(lambda: answers.update(self.step()) or not self.llm.llm_engine.has_unfinished_requests(),
                   "all are answered", pause=0)
        return [answers[name] for name in sorted(answers, key=int)]

    def park(self, above: int | None) -> None:
        """From now on, requests that get more bytes wait for them beside the steps; None: none does."""
        self.connector._scheduler._park_above = above

    def forget(self, connector: bool = False) -> None:
        """Empties the engine's own prefix cache."""
        assert self.llm.reset_prefix_cache(reset_connector=connector)

    def metric(self, name: str) -> float:
        """Of vLLM's own, by its name without the prefix."""
        return sum(m.value for m in self.llm.get_metrics() if m.name == f"vllm:{name}")

    def _generate(self, prompts: list[list[int]], tokens: int) -> list[Answer]:
        outputs = self.llm.generate([{"prompt_token_ids": p} for p in prompts], sampling(tokens), use_tqdm=False)
        return [answer_of(output) for output in outputs]


def worker() -> Any:
    """The worker's half of the connector, where the engine is in this process."""
    from vllm.distributed.kv_transfer import get_kv_transfer_group

    connector: Any = get_kv_transfer_group()
    return connector._worker


@contextmanager
def hold_loads() -> Iterator[threading.Event]:
    """Loads wait for the event before they are made: those beside the steps, which go on."""
    gate, side = threading.Event(), worker()
    load = side._load
    side._load = lambda *what: gate.wait(PATIENCE) and load(*what)
    try:
        yield gate
    finally:
        gate.set()
        side._load = load


@contextmanager
def fail_loads() -> Iterator[list[Any]]:
    """Loads that leave wrong bytes and say that they failed; those that were asked for."""
    side, calls = worker(), []
    load = side._load

    def fails(asked: Any, cache: Any) -> bool:
        calls.append(asked)
        for part in asked.pieces:
            pieces = side._layouts[part.group].pieces
            pieces.scatter(part.block_ids, b"\x3f" * (pieces.block_bytes * len(part.block_ids)))
        return False

    side._load = fails
    try:
        yield calls
    finally:
        side._load = load


def clean_up() -> None:
    """What an engine leaves in its process."""
    from vllm.distributed import cleanup_dist_env_and_memory
    from vllm.distributed.kv_transfer import ensure_kv_transfer_shutdown

    ensure_kv_transfer_shutdown()  # Of one whose start was refused.
    gc.collect()
    cleanup_dist_env_and_memory()


@contextmanager
def served(module: list[str], variables: dict[str, str], port: int, log: Path) -> Iterator[str]:
    """A server of vLLM, `module` with its arguments, from when it is healthy; its URL. Nothing of it is left behind."""
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_LOGGING_LEVEL": "INFO", **variables}
    with log.open("w") as out:
        child = subprocess.Popen([sys.executable, "-m", *module], env=environment, start_new_session=True, stdout=out,
                                 stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        assert child.poll() is None, f"the server ended:\n{log.read_text()[-4000:]}"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        eventually(healthy, "the server starts", patience=480)
        yield url
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(60)


def sampling(tokens: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0, detokenize=False, ignore_eos=True, logprobs=2, max_tokens=tokens)


def answer_of(output: Any) -> Answer:
    completion = output.outputs[0]
    logprobs = [sorted((t, p.logprob) for t, p in at.items()) for at in completion.logprobs]
    return Answer(list(completion.token_ids), logprobs, output.num_cached_tokens or 0)


def prompts_of(*lengths: int, seed: int = 7, prefix: int = 0) -> list[list[int]]:
    """Random prompts; `prefix`: so many first tokens are those of all."""
    source = random.Random(seed)
    shared = [source.randrange(3, 512) for _ in range(prefix)]
    return [shared + [source.randrange(3, 512) for _ in range(n - prefix)] for n in lengths]


def ideal(prompts: list[list[int]]) -> int:
    """Tokens that could come from the cache: whole blocks, one token at least left to compute."""
    return sum((len(p) - 1) // BLOCK * BLOCK for p in prompts)


class Daemon:
    """`reprise serve` on a socket in a folder. `under`: a command that runs it."""

    def __init__(self, folder: Path, *flags: str, under: tuple[str, ...] = ()) -> None:
        from reprise import _native

        self.socket = folder / "reprise.sock"
        self.url = f"unix://{self.socket}"
        self.socket.unlink(missing_ok=True)
        binary = Path(_native.__file__).parent / "bin" / "reprise"
        command = [*under, str(binary), "serve", "--listen-unix", str(self.socket), "--listen-admin", "", *flags]
        self.child = subprocess.Popen(command)
        eventually(lambda: self.socket.exists() or self.child.poll() is not None, "the daemon listens")
        assert self.child.poll() is None, "the daemon refused"

    def stop(self) -> None:
        """Writes what it holds to its disk, and ends."""
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(PATIENCE)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(PATIENCE)


def eventually(condition: Any, what: str, patience: float = PATIENCE, pause: float = 0.02) -> None:
    """Waits for it."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(pause)


def elsewhere(model: Path, url: str, *lengths: int) -> list[Answer]:
    """Answers to prompts_of(*lengths) by an engine in another process."""
    command = [sys.executable, __file__, str(model), url, *map(str, lengths)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    told = json.loads(done.stdout.splitlines()[-1])
    return [Answer(a["tokens"], [[(t, p) for t, p in at] for at in a["logprobs"]], a["cached"]) for a in told]


def main() -> None:
    model, url, *lengths = sys.argv[1:]
    with Engine(Path(model), {"cache_url": url, "strict": True, **PATIENT}) as engine:
        answers = engine.ask(prompts_of(*map(int, lengths)))
    sys.stdout.write("\n" + json.dumps([dataclasses.asdict(a) for a in answers]) + "\n")


if __name__ == "__main__":
    main()
