"""What the real pyroscope-io sends: a server on loopback takes the profiles of a child process."""

import gzip
import http.server
import os
import subprocess
import sys
import threading

import pytest

pytest.importorskip("pyroscope")

CHILD = """
import hashlib, time
from aibrix_kvcache import profiling

def native_work(data):
    # hashlib releases the GIL, as the cache does
    with profiling.tag_wrapper({"connector": "Toy", "func": "hash"}):
        hashlib.sha256(data).digest()

assert profiling.start()
data = bytes(16 << 20)
begin = time.thread_time_ns()
while time.thread_time_ns() - begin < 2_000_000_000:
    native_work(data)
profiling.stop()
"""


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        packed = self.headers["Content-Encoding"] == "gzip"
        self.server.bodies.append((self.path, gzip.decompress(body) if packed else body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


def fields(data):
    """(number, value) of each field of a protobuf message; ints, or bytes of what has a length."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        yield tag >> 3, value


def packed(data):
    return [] if not data else [value for _, value in fields(b"".join(b"\x08" + v for v in split_varints(data)))]


def split_varints(data):
    start = 0
    for i, byte in enumerate(data):
        if byte < 128:
            yield data[start : i + 1]
            start = i + 1


def only(message, number):
    return [value for field, value in fields(message) if field == number]


def samples(profile):
    """(functions on the stack, tags, nanoseconds) of each sample of a pprof profile
    (github.com/google/pprof/blob/main/proto/profile.proto)."""
    texts = [text.decode() for text in only(profile, 6)]
    names = {only(f, 1)[0]: texts[only(f, 2)[0]] for f in only(profile, 5)}
    places = {only(p, 1)[0]: [names[only(line, 1)[0]] for line in only(p, 4)] for p in only(profile, 4)}
    for sample in only(profile, 2):
        stack = [name for group in only(sample, 1) for place in packed(group) for name in places[place]]
        tags = {texts[only(label, 1)[0]]: texts[only(label, 2)[0]] for label in only(sample, 3)}
        yield stack, tags, packed(only(sample, 2)[0])[0]


@pytest.fixture(scope="module")
def uploads():
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "AIBRIX_KV_CACHE_OL_PROFILING_ENABLED": "1",
        "AIBRIX_KV_CACHE_OL_PROFILING_SERVER_ADDRESS": f"http://127.0.0.1:{server.server_port}",
        "AIBRIX_KV_CACHE_OL_L2_CACHE_NAMESPACE": "toy",
    }
    try:
        subprocess.run([sys.executable, "-c", CHILD], env=environment, check=True, timeout=120)
    finally:
        server.shutdown()
        server.server_close()
    series = [s for path, body in server.bodies if path.endswith("/Push") for s in only(body, 1)]
    assert series, f"no profile arrived, only {[path for path, _ in server.bodies]}"
    return series


def test_profiles_name_the_application_and_the_namespace(uploads):
    for series in uploads:
        labels = {only(pair, 1)[0].decode(): only(pair, 2)[0].decode() for pair in only(series, 1)}
        assert labels["service_name"] == "aibrix.kvcache"
        assert labels["namespace"] == "toy"


def test_native_work_is_seen_with_its_tags(uploads):
    found = [sample for series in uploads for raw in only(series, 2) for p in only(raw, 1) for sample in samples(p)]
    native = sum(ns for stack, tags, ns in found if "native_work" in stack and tags.get("func") == "hash")
    assert all(tags["connector"] == "Toy" for stack, tags, ns in found if tags.get("func") == "hash")
    # The child worked for two seconds without the GIL. With gil_only the agent sees a few hundredths of that.
    assert native > 500_000_000, found
