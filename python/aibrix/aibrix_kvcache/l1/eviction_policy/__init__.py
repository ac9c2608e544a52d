"""Which block goes when room is needed: policies in Python, and the registry of policies of one's own."""

from .base_eviction_policy import BaseEvictionPolicy, BaseEvictionPolicyNode, Functor
from .fifo import FIFO
from .lru import LRU
from .registry import (
    NATIVE_POLICIES,
    find_eviction_policy,
    is_python_policy,
    policy_name_from_environment,
    register_eviction_policy,
    unregister_eviction_policy,
)
from .s3fifo import S3FIFO

__all__ = [
    "FIFO",
    "LRU",
    "NATIVE_POLICIES",
    "S3FIFO",
    "BaseEvictionPolicy",
    "BaseEvictionPolicyNode",
    "Functor",
    "find_eviction_policy",
    "is_python_policy",
    "policy_name_from_environment",
    "register_eviction_policy",
    "unregister_eviction_policy",
]
