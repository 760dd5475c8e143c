"""Results: where they are kept, and the handles with which they are asked and waited for."""

from umbel.results.async_result import AsyncResult
from umbel.results.base import ResultBase
from umbel.results.disabled_store import DisabledStore, NoResultBackend
from umbel.results.eager_result import EagerResult
from umbel.results.from_tuple import result_from_tuple
from umbel.results.group_result import GroupResult
from umbel.results.joining import allow_join_result, assert_will_not_block, denied_join_result
from umbel.results.result_set import ResultSet
from umbel.results.store import ResultStore

__all__ = [
    "AsyncResult",
    "DisabledStore",
    "EagerResult",
    "GroupResult",
    "NoResultBackend",
    "ResultBase",
    "ResultSet",
    "ResultStore",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
