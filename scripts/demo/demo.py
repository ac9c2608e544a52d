#!/usr/bin/env python3
"""./dev demo: a long prompt, computed once by one vLLM server and found again by others.

A daemon and two OpenAI-compatible servers run on this machine, over a small model of random weights. The same prompts
are sent with curl to the first server, to the second, to the first after a restart, and once more after the daemon was
restarted and has nothing but its disk. Shown is the time to the first token (TTFT), how many tokens of the prompt came
from a cache, and whether the answers are the same: each word as computed, and each log probability, bit for bit, as
after a hit in vLLM's own prefix cache. (Computed in one go, so long a prompt comes out a millionth different.)

With --seed-curl a server is started the way older deployments describe it, and their curl lines are sent to it as they
are written; without the key they must be refused.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import seed_curl
from asking import Answer, ask, question
from engines import BLOCK_TOKENS, TREE, Daemon, Engine, engine_on, make_model
from processes import Failed, Stage, say

ANSWER_TOKENS = 16
TEMPLATE = "curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' -d @{file}"


@dataclass
class Row:
    """What one server answered to all prompts."""

    what: str
    answers: list[Answer]

    @property
    def words(self) -> list[list[str]]:
        return [[word for word, _ in answer.tokens] for answer in self.answers]

    @property
    def milliseconds(self) -> float:
        return statistics.median(answer.seconds for answer in self.answers) * 1e3


class Show:
    """The prompts, and the table of what came out."""

    def __init__(self, count: int, tokens: int) -> None:
        self.prompts = [words(tokens, seed) for seed in range(count)]
        self._warmed, self._tokens = 0, tokens
        self.rows: list[Row] = []

    def warm(self, engine: Engine) -> None:
        """A first long request reserves memory and loads kernels; its time would say nothing. It is found nowhere."""
        self._warmed += 1
        ask(engine.url, question("demo", words(self._tokens, -self._warmed), 2))

    def row(self, what: str, engine: Engine) -> None:
        self.rows.append(Row(what, [ask(engine.url, question("demo", p, ANSWER_TOKENS)) for p in self.prompts]))
        say(f"  {what}: {self.rows[-1].milliseconds:.0f} ms")

    def same(self, row: Row) -> bool:
        """Words as computed; numbers as after a hit in vLLM's own cache, the second row, or as computed without one."""
        computed, own = self.rows[0].answers, self.rows[min(1, len(self.rows) - 1)].answers
        return row.words == self.rows[0].words and all(
            answer == (hit if answer.cached_tokens else cold)
            for answer, hit, cold in zip(row.answers, own, computed, strict=True))

    def table(self) -> str:
        head = f"{'':44} {'TTFT':>9} {'of computing':>13} {'from a cache':>16}  answers"
        lines = [head]
        for row in self.rows:
            cached = f"{row.answers[0].cached_tokens:,} of {row.answers[0].prompt_tokens:,}"
            share = row.milliseconds / self.rows[0].milliseconds
            said = "" if row is self.rows[0] else "the same" if self.same(row) else "DIFFERENT"
            lines.append(f"{row.what:44} {row.milliseconds:6.0f} ms {share:13.2f} {cached:>16}  {said}".rstrip())
        return "\n".join(lines)

    def problems(self) -> list[str]:
        """What should not be: other answers, or prompts that were computed where Reprise had them."""
        found = [f"{row.what}: other answers" for row in self.rows if not self.same(row)]
        for row in self.rows[1:]:
            for answer in row.answers:
                ideal = (answer.prompt_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS
                if answer.cached_tokens < 0.98 * ideal:
                    found.append(f"{row.what}: {answer.cached_tokens} tokens from a cache, of {ideal}")
        return found


def words(count: int, seed: int) -> str:
    """Random words of the model's vocabulary, one token each."""
    source = random.Random(f"demo {seed}")
    return " ".join(f"w{source.randrange(3, 512)}" for _ in range(count))


def play(stage: Stage, folder: Path, given: argparse.Namespace) -> Show:
    """Starts everything and asks."""
    longest = given.tokens + 4 * ANSWER_TOKENS
    model = make_model(folder / "model", given.layers, folder / "model.log")
    daemon = Daemon(stage, folder)
    say("starting two vLLM servers; each imports for a while")
    first, second = (engine_on(stage, f"engine {n}", model, folder / f"engine-{n}.log", daemon, longest) for n in "AB")
    stage.wait("starting engines A and B", lambda: first.ready and second.ready)
    show = Show(given.prompts, given.tokens)
    show.warm(first)
    show.warm(second)
    say(f"asking: {given.prompts} prompts of {given.tokens} tokens, one after the other; medians")
    show.row("engine A, computed", first)
    show.row("engine A again, vLLM's own prefix cache", first)
    show.row("engine B, from Reprise's memory", second)
    first.stop()
    first = engine_on(stage, "engine A", model, folder / "engine-A.log", daemon, longest)
    stage.wait("starting engine A again", lambda: first.ready)
    show.warm(first)
    show.row("engine A after a restart, from Reprise", first)
    daemon.restart()
    second.forget()
    show.row("engine B after one of the daemon, from disk", second)
    body = {**question("demo", show.prompts[0], ANSWER_TOKENS), "stream": False}
    del body["stream_options"]
    (folder / "prompt.json").write_text(json.dumps(body))
    say(f"\n{show.table()}\n\nThe status page: {daemon.page}/\nTo ask yourself, engine B: "
        f"{TEMPLATE.format(url=second.url, file=folder / 'prompt.json')}")
    return show


def prompt_demo(stage: Stage, folder: Path, given: argparse.Namespace) -> list[str]:
    show = play(stage, folder, given)
    (folder / "result.json").write_text(json.dumps(
        [{"what": row.what, "milliseconds": [round(a.seconds * 1e3, 1) for a in row.answers],
          "cached_tokens": [a.cached_tokens for a in row.answers], "same": show.same(row)} for row in show.rows],
        indent=1) + "\n")
    return show.problems()


def interrupted(*_: object) -> None:
    """The first signal ends everything in order; while that goes on, further ones are not needed."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    say("\nending everything")
    raise KeyboardInterrupt


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true",
                        help="everything stays up until ctrl-C; so it does on a terminal")
    parser.add_argument("--plots", action="store_true",
                        help="nothing of this: replay real traffic through a small cache and draw build/demo.html")
    parser.add_argument("--tokens", type=int, default=3500, help="of each prompt (default: 3500, at most 4000)")
    parser.add_argument("--prompts", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--layers", type=int, default=16, help="of the model (default: 16)")
    seeds = parser.add_argument_group("curl lines of older deployments")
    seeds.add_argument("--seed-curl", action="store_true", help="serve as they describe it, and run them")
    seeds.add_argument("--seeds", type=Path, metavar="FOLDER",
                       help="texts (*.txt) that hold such lines (default: $DEMO_SEEDS, or shared/seeds beside the "
                       "tree; without the folder, a line of our own)")
    seeds.add_argument("--port", type=int, default=seed_curl.PORT,
                       help="serve elsewhere than the lines say; curl is told by a configuration file")
    parser.add_argument("--folder", type=Path, default=TREE / "build/demo", help="for logs and data (build/demo)")
    given = parser.parse_args()
    if not 64 <= given.tokens <= 4000 or given.prompts < 1 or given.layers < 1:
        parser.error("--tokens is from 64 to 4000; --prompts and --layers are 1 or more")
    return given


def main() -> int:
    given = arguments()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupted)
    folder = given.folder.resolve()
    mark = folder / ".reprise-demo"
    if folder != TREE / "build/demo" and folder.exists() and any(folder.iterdir()) and not mark.exists():
        sys.stderr.write(f"demo: {folder} has something in it that no demo wrote; name another --folder\n")
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()
    try:
        with Stage() as stage:
            problems = (seed_curl.demo if given.seed_curl else prompt_demo)(stage, folder, given)
            for problem in problems:
                say(f"demo: {problem}")
            if given.keep or sys.stdout.isatty():
                say("Everything is up until ctrl-C.")
                while True:
                    time.sleep(1)
            say("ending everything")
    except Failed as error:
        say(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        say(f"Logs are in {folder}.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
