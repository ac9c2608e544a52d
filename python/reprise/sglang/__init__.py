"""SGLang's HiCache over Reprise: a storage backend for `--hicache-storage-backend dynamic`.

    --hicache-storage-backend-extra-config '{"backend_name": "reprise", "module_path": "reprise.sglang",
        "class_name": "RepriseHiCache", "interface_v1": 1, "cache_url": "unix:///run/reprise/reprise.sock"}'

docs/sglang.md has the rest. Needs sglang, and with it torch and numpy.
"""

from .backend import RepriseHiCache

__all__ = ["RepriseHiCache"]
