"""For vLLM's `kv_connector_module_path`."""
