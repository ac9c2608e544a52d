"""A toy engine, and all that an engine has to do to keep its KV in Reprise. docs/new-engine.md goes through it."""

import hashlib
import tempfile

import reprise

BLOCK_TOKENS, BLOCK_BYTES, CHUNK_BLOCKS = 16, 4096, 4
TIMEOUT = 0.02  # Seconds a request may wait for the cache: less than computing a block would take.


class Engine:
    def __init__(self, cache):
        self.cache, self.computed = cache, 0
        self.ns = reprise.Namespace(model="toy/model", revision="1", dtype="uint8", layout="toy", salt="",
                                    block_tokens=BLOCK_TOKENS, block_bytes=BLOCK_BYTES,
                                    layers=range(0, 1), heads=range(0, 1))

    def generate(self, prompt, count):
        """The next `count` tokens. KV is found, or computed chunk by chunk and offered as its blocks are complete."""
        tokens, kv = list(prompt), self.load(prompt)
        while len(tokens) < len(prompt) + count:
            first = len(kv)
            for i in range(first, min(first + CHUNK_BLOCKS, len(tokens) // BLOCK_TOKENS)):
                kv.append(self.forward(kv[-1] if kv else b"", tokens[i * BLOCK_TOKENS : (i + 1) * BLOCK_TOKENS]))
            self.store(tokens, kv, first)
            if len(kv) == len(tokens) // BLOCK_TOKENS:  # The prompt is done: one token a step.
                tokens.append(self.sample(kv, tokens))
        return tokens[len(prompt) :]

    def load(self, prompt):
        """KV of the leading blocks that the cache has. Not of the last token: computing it gives the next one."""
        chain = reprise.Chain.from_tokens(self.ns, prompt[:-1])
        try:
            with self.cache.acquire(chain, timeout=TIMEOUT) as lease:
                kv = [bytes(view) for view in lease]  # To the device, in an engine.
                return kv if lease.valid else []  # Asked after the last byte was read.
        except reprise.Error as error:
            print("computing instead:", error)
            return []

    def store(self, tokens, kv, first):
        """Offers the blocks from `first` on. Whether they were taken changes nothing here."""
        if first < len(kv):
            chain = reprise.Chain.from_tokens(self.ns, tokens[: len(kv) * BLOCK_TOKENS])
            try:
                self.cache.put(chain, kv[first:], start=first, timeout=TIMEOUT)
            except reprise.Error as error:
                print("not stored:", error)

    def forward(self, before, block):  # The model. KV depends on everything before, as attention's does.
        self.computed += BLOCK_TOKENS
        return hashlib.shake_128(before + repr(block).encode()).digest(BLOCK_BYTES)

    def sample(self, kv, tokens):
        return hashlib.sha256(b"".join(kv) + repr(tokens[len(kv) * BLOCK_TOKENS :]).encode()).digest()[0]


def main():
    prompt = list(range(200))
    with tempfile.TemporaryDirectory() as nowhere:
        away = f"unix://{nowhere}/nobody.sock"  # A daemon that is not there: fewer blocks, and nothing else.
        for name, url in (("cache", "embedded:"), ("away", away)):
            with reprise.Cache.open(url, l1_capacity="16MiB") as cache:
                first, again = Engine(cache), Engine(cache)
                assert first.generate(prompt, 40) == again.generate(prompt, 40)
                print(f"{name}: {first.computed} tokens computed at first, {again.computed} again, the same answer")


if __name__ == "__main__":
    main()

# prints cache: 224 tokens computed at first, 32 again, the same answer
# prints away: 224 tokens computed at first, 224 again, the same answer
