"""Every setting of Celery 5.7, in its defaults or only read or documented, as the reference of what must be known."""

from __future__ import annotations

_GROUPS = {
    "": """
        accept_content result_accept_content enable_utc imports include timezone
    """,
    "beat": """
        enable_remote_control remote_control_max_tick_age max_loop_interval schedule scheduler
        schedule_filename sync_every cron_starting_deadline
    """,
    "broker": """
        url read_url write_url transport transport_options connection_timeout connection_retry
        connection_retry_on_startup connection_max_retries channel_error_retry failover_strategy heartbeat
        heartbeat_checkrate login_method native_delayed_delivery_queue_type pool_limit pool_acquire_timeout
        use_ssl host port user password vhost
    """,
    "cache": """
        backend backend_options
    """,
    "cassandra": """
        entry_ttl keyspace port read_consistency servers bundle_path table write_consistency auth_provider
        auth_kwargs options
    """,
    "s3": """
        access_key_id secret_access_key bucket base_path endpoint_url region
    """,
    "azureblockblob": """
        container_name retry_initial_backoff_sec retry_increment_base retry_max_attempts base_path
        connection_timeout read_timeout
    """,
    "gcs": """
        bucket project base_path ttl
    """,
    "control": """
        queue_ttl queue_expires queue_exclusive queue_durable exchange
    """,
    "couchbase": """
        backend_settings
    """,
    "arangodb": """
        backend_settings
    """,
    "mongodb": """
        backend_settings
    """,
    "cosmosdbsql": """
        database_name collection_name consistency_level max_retry_attempts max_retry_wait_time
    """,
    "event": """
        queue_expires queue_ttl queue_prefix queue_exclusive queue_durable serializer exchange
    """,
    "redis": """
        backend_use_ssl db host max_connections username password port socket_timeout socket_connect_timeout
        retry_on_timeout socket_keepalive
    """,
    "result": """
        backend cache_max compression exchange exchange_type expires chord_expires failure_expires
        persistent extended serializer backend_transport_options chord_retry_interval chord_join_timeout
        backend_max_sleep_between_retries_ms backend_max_retries backend_base_sleep_between_retries_ms
        backend_always_retry
    """,
    "elasticsearch": """
        retry_on_timeout max_retries timeout save_meta_as_text
    """,
    "security": """
        certificate cert_store key key_password digest
    """,
    "database": """
        url engine_options engine_callback short_lived_sessions table_schemas table_names
        create_tables_at_setup
    """,
    "task": """
        acks_late acks_on_failure_or_timeout acks_on_failure acks_on_timeout always_eager annotations
        compression create_missing_queues create_missing_queue_type create_missing_queue_exchange_type
        inherit_parent_priority default_delivery_mode default_queue default_queue_type default_exchange
        default_exchange_type default_routing_key default_rate_limit default_priority eager_propagates
        ignore_result store_eager_result protocol publish_retry publish_retry_policy queues
        queue_max_priority reject_on_worker_lost retry_on_worker_lost remote_tracebacks repr_maxlevels
        routes send_sent_event serializer soft_time_limit time_limit store_errors_even_if_ignored
        track_started allow_error_cb_on_chord_header
    """,
    "worker": """
        agent autoscaler cancel_long_running_tasks_on_connection_loss soft_shutdown_timeout
        enable_soft_shutdown_on_idle concurrency consumer direct disable_rate_limits
        deduplicate_successful_tasks enable_remote_control hijack_root_logger log_color log_datefmt
        log_format lost_wait max_memory_per_child max_tasks_per_child pool pool_putlocks pool_restarts
        pool_start_method proc_alive_timeout prefetch_multiplier eta_task_limit
        enable_prefetch_count_reduction disable_prefetch redirect_stdouts redirect_stdouts_level
        send_task_events state_db task_log_datefmt task_log_format timer timer_precision
        detect_quorum_queues
    """,
}

IN_DEFAULTS = tuple(f"{group}_{name}".lstrip("_") for group, names in _GROUPS.items() for name in names.split())

READ_OR_DOCUMENTED = (
    "redis_client_name",
    "redis_backend_health_check_interval",
    "redis_backend_credential_provider",
    "result_backend_thread_safe",
    "override_backends",
    "cassandra_secure_bundle_path",
    "gcs_threadpool_maxsize",
    *(
        f"{program}_{name}"
        for program in ("worker", "beat", "events")
        for name in ("pidfile", "logfile", "uid", "gid", "umask", "executable")
    ),
)
