"""What the connector tells: vLLM, routers, operators."""
