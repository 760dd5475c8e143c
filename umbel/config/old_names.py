"""The upper-case names that settings had before Celery 4, and still may have.

Most follow from the group of the setting; those that do not are listed. The names are facts of Celery's
``celery.app.defaults``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from umbel.config.catalogue.all import CATALOGUE

_BY_GROUP = {
    "beat_": "CELERYBEAT_",
    "worker_": "CELERYD_",
    "task_": "CELERY_",
    "cache_": "CELERY_CACHE_",
    "couchbase_": "CELERY_COUCHBASE_",
    "arangodb_": "CELERY_ARANGODB_",
    "mongodb_": "CELERY_MONGODB_",
    "event_": "CELERY_EVENT_",
    "redis_": "CELERY_REDIS_",
    "result_": "CELERY_RESULT_",
    "elasticsearch_": "CELERY_ELASTICSEARCH_",
    "security_": "CELERY_SECURITY_",
}

_EXCEPTIONS = {
    "accept_content": "CELERY_ACCEPT_CONTENT",
    "result_accept_content": "RESULT_ACCEPT_CONTENT",
    "imports": "CELERY_IMPORTS",
    "include": "CELERY_INCLUDE",
    "timezone": "CELERY_TIMEZONE",
    "result_cache_max": "CELERY_MAX_CACHED_RESULTS",
    "result_expires": "CELERY_TASK_RESULT_EXPIRES",
    "database_url": "CELERY_RESULT_DBURI",
    "database_engine_options": "CELERY_RESULT_ENGINE_OPTIONS",
    "database_short_lived_sessions": "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
    "database_table_names": "CELERY_RESULT_DB_TABLENAMES",
    "task_compression": "CELERY_MESSAGE_COMPRESSION",
    "task_eager_propagates": "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    "task_protocol": "CELERY_TASK_PROTOCOL",
    "task_publish_retry": "CELERY_TASK_PUBLISH_RETRY",
    "task_publish_retry_policy": "CELERY_TASK_PUBLISH_RETRY_POLICY",
    "task_send_sent_event": "CELERY_SEND_TASK_SENT_EVENT",
    "task_serializer": "CELERY_TASK_SERIALIZER",
    "task_soft_time_limit": "CELERYD_TASK_SOFT_TIME_LIMIT",
    "task_time_limit": "CELERYD_TASK_TIME_LIMIT",
    "worker_direct": "CELERY_WORKER_DIRECT",
    "worker_disable_rate_limits": "CELERY_DISABLE_RATE_LIMITS",
    "worker_enable_remote_control": "CELERY_ENABLE_REMOTE_CONTROL",
    "worker_lost_wait": "CELERYD_WORKER_LOST_WAIT",
    "worker_redirect_stdouts": "CELERY_REDIRECT_STDOUTS",
    "worker_redirect_stdouts_level": "CELERY_REDIRECT_STDOUTS_LEVEL",
    "worker_send_task_events": "CELERY_SEND_EVENTS",
}


def _old(name: str) -> str:
    if name in _EXCEPTIONS:
        return _EXCEPTIONS[name]
    for group, prefix in _BY_GROUP.items():
        if name.startswith(group):
            return prefix + name[len(group) :].upper()
    return name.upper()


OLD_OF: Mapping[str, str] = MappingProxyType({name: _old(name) for name in CATALOGUE})
"""Today's name of each setting to its old one."""

NEW_OF: Mapping[str, str] = MappingProxyType(
    {**{old: name for name, old in OLD_OF.items()}, "CELERY_ENABLE_UTC": "enable_utc"}
)
"""The old name of each setting to today's."""
