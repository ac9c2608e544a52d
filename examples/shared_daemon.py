"""One daemon, two engines: the second finds what the first stored, and reads it where it lies."""

import signal
import subprocess
import sys
import tempfile

import reprise

NS = reprise.Namespace(model="example/model", revision="none", dtype="bfloat16", layout="opaque", block_tokens=16,
                       block_bytes=4096, layers=range(0, 32), heads=range(0, 8), salt="")


def main():
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/reprise.sock"
        daemon = subprocess.Popen([sys.executable, "-m", "reprise", "serve", "--listen-unix", socket, "--listen-admin",
                                   "", "--l1-capacity", "64MiB"], stderr=subprocess.PIPE, text=True)
        try:
            daemon.stderr.readline()  # It says what it listens on once it does.
            exchange(f"unix://{socket}")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.stderr.close()
            print("the daemon ended with", daemon.wait(timeout=30))


def exchange(url):
    chain = reprise.Chain.from_tokens(NS, range(64))
    with reprise.Cache.open(url) as one, reprise.Cache.open(url) as other:
        stored = one.put(chain, b"k" * 4 * NS.block_bytes, timeout=1)
        with other.acquire(chain, timeout=1) as lease:
            found, same = len(lease), all(view == b"k" * NS.block_bytes for view in lease)
            assert lease.valid
        print(f"one engine stored {stored.accepted} blocks, the other found {found}, the same bytes: {same}")


if __name__ == "__main__":
    main()

# prints one engine stored 4 blocks, the other found 4, the same bytes: True
# prints the daemon ended with 0
