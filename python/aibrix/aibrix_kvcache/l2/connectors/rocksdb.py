"""ROCKSDB: blocks in a database of this process."""

from .cache_connector import CacheConnector


class RocksDBConnector(CacheConnector):
    """A database under AIBRIX_KV_CACHE_OL_ROCKSDB_ROOT, in a directory per connection id; one process at a time."""

    BACKEND = "ROCKSDB"
