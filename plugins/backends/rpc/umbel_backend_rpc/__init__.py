"""The rpc result backend."""

from __future__ import annotations

from umbel_backend_rpc.backend import RpcBackend

__all__ = ["RpcBackend"]
