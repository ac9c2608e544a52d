"""What is taken out of a text that is made up here, in the two forms that texts have."""

from __future__ import annotations

from pathlib import Path

import pytest

import extract

INDENTED = """
Use this:

.. code-block:: yaml

    apiVersion: apps/v1
    kind: Deployment
    spec:
      template:
        spec:
          containers:
            - name: engine
              command: [python3, -m, vllm.entrypoints.openai.api_server, --port, "8000"]
              env:
              - {name: VLLM_USE_VINEYARD_CACHE, value: "1"}
              - {name: SECRET, valueFrom: {secretKeyRef: {key: x}}}
            - name: other
              command: [sleep]

and AIBRIX_LLM_KV_CACHE_SOCKET is a path.
"""
NUMBERED = """1 is a number, and so is 2
  1apiVersion: apps/v1
  2spec:
  3  template:
  4    spec:
  5      containers:
  6        - command:
  7            - vllm
  8            - serve
  9            - --model # with the folder
 10            - /models/x
 11          env:
 12            - name: AIBRIX_KV_CACHE_OL_L1_CACHE_ENABLED
 13              value: "0"
$ kubectl apply
 14  not this
"""


def test_both_forms(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(INDENTED)
    (tmp_path / "b.txt").write_text(NUMBERED)
    one, two = extract.deployments(tmp_path)
    assert (one.source, one.arguments, one.environment) == (
        "a.txt", ["--port", "8000"], {"VLLM_USE_VINEYARD_CACHE": "1"})
    assert two.arguments == ["--model", "/models/x"]
    assert two.environment == {"AIBRIX_KV_CACHE_OL_L1_CACHE_ENABLED": "0"}
    assert extract.variables(tmp_path) == {
        "VLLM_USE_VINEYARD_CACHE", "AIBRIX_LLM_KV_CACHE_SOCKET", "AIBRIX_KV_CACHE_OL_L1_CACHE_ENABLED"}


def test_what_is_no_server_is_named() -> None:
    with pytest.raises(AssertionError, match="not a server of vLLM"):
        assert extract.Deployment("a.txt", ("vllm", "bench"), {}).arguments
