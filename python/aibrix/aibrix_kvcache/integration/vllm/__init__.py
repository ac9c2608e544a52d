"""Inside vLLM: the connectors of `reprise.vllm` under the paths that deployments name."""
