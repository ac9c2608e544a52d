"""The half of the connector in a worker: moves bytes between KV tensors and the cache."""
