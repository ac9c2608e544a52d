"""KV-cache offloading with the API of aibrix-kvcache, over Reprise."""
