"""Settings of the stores of results that are plugins, known by name whether or not they are installed."""

from __future__ import annotations

from umbel_kernel.setting import Setting

REDIS = (
    Setting("redis_backend_use_ssl", "dict|bool", None, "The TLS options of the Redis backend."),
    Setting("redis_backend_health_check_interval", "int", None, "Seconds between checks of an idle Redis connection."),
    Setting("redis_backend_credential_provider", "any", None, "The object, or its path, that supplies credentials."),
    Setting("redis_client_name", "str", None, "The name that connections bear in CLIENT LIST."),
    Setting("redis_db", "int", None, "The number of the database, when the URL has none."),
    Setting("redis_host", "str", None, "The Redis host, when the URL has none."),
    Setting("redis_port", "int", None, "The Redis port, when the URL has none."),
    Setting("redis_username", "str", None, "The Redis user, when the URL has none."),
    Setting("redis_password", "str", None, "The Redis password, when the URL has none."),
    Setting("redis_max_connections", "int", None, "The most connections of the Redis backend's pool."),
    Setting("redis_socket_timeout", "float|none", 120.0, "Seconds that an answer of Redis may take."),
    Setting("redis_socket_connect_timeout", "float", None, "Seconds that a connection to Redis may take to open."),
    Setting("redis_retry_on_timeout", "bool", False, "Whether a Redis command that times out is tried again."),
    Setting("redis_socket_keepalive", "bool", False, "Whether TCP keepalive is on for Redis connections."),
)

DATABASE = (
    Setting("database_url", "str", None, "The SQLAlchemy URL of the database, when result_backend has none."),
    Setting(
        "database_engine_options",
        "dict",
        {"pool_pre_ping": True, "pool_recycle": 3600},
        "Options of SQLAlchemy's create_engine.",
    ),
    Setting("database_engine_callback", "str|callable", None, "A function called with each new SQLAlchemy engine."),
    Setting("database_short_lived_sessions", "bool", False, "Whether sessions are closed after each use."),
    Setting("database_table_schemas", "dict", None, "The schema of the 'task' and of the 'group' table."),
    Setting("database_table_names", "dict", None, "The name of the 'task' and of the 'group' table."),
    Setting("database_create_tables_at_setup", "bool", True, "Whether tables are made at start, not at first use."),
)

CACHE = (
    Setting("cache_backend", "str", None, "The URL of the cache, when result_backend has none."),
    Setting("cache_backend_options", "dict", {}, "Options of the cache's client."),
)

MONGODB = (Setting("mongodb_backend_settings", "dict", None, "Database, collections and options of MongoDB."),)
COUCHBASE = (Setting("couchbase_backend_settings", "dict", None, "Host, bucket and credentials of Couchbase."),)
ARANGODB = (Setting("arangodb_backend_settings", "dict", None, "Host, database, collection and user of ArangoDB."),)

CASSANDRA = (
    Setting("cassandra_servers", "list", None, "The hosts of the Cassandra cluster."),
    Setting("cassandra_bundle_path", "str", None, "The secure connect bundle to use instead of a list of hosts."),
    Setting("cassandra_secure_bundle_path", "str", None, "Another name of cassandra_bundle_path."),
    Setting("cassandra_port", "int", None, "The port of the Cassandra hosts; unset means 9042."),
    Setting("cassandra_keyspace", "str", None, "The keyspace of the table of results."),
    Setting("cassandra_table", "str", None, "The table of results."),
    Setting("cassandra_read_consistency", "str", None, "The consistency level of reads; unset means LOCAL_QUORUM."),
    Setting("cassandra_write_consistency", "str", None, "The consistency level of writes; unset means LOCAL_QUORUM."),
    Setting("cassandra_entry_ttl", "float", None, "Seconds after which a row is deleted; unset keeps it."),
    Setting("cassandra_auth_provider", "str", None, "The class of cassandra.auth that logs in."),
    Setting("cassandra_auth_kwargs", "dict", None, "Arguments of that class."),
    Setting("cassandra_options", "dict", {}, "Options of the Cassandra cluster object."),
)

ELASTICSEARCH = (
    Setting("elasticsearch_retry_on_timeout", "bool", None, "Whether a request that times out is tried again."),
    Setting("elasticsearch_max_retries", "int", None, "How often a failing request is tried again."),
    Setting("elasticsearch_timeout", "float", None, "Seconds that a request may take."),
    Setting("elasticsearch_save_meta_as_text", "bool", True, "Whether results are stored as text, not as JSON."),
)

S3 = (
    Setting("s3_access_key_id", "str", None, "The AWS access key; unset leaves it to the environment."),
    Setting("s3_secret_access_key", "str", None, "The AWS secret key; unset leaves it to the environment."),
    Setting("s3_bucket", "str", None, "The bucket of results."),
    Setting("s3_base_path", "str", None, "The first part of the names of objects."),
    Setting("s3_endpoint_url", "str", None, "The address of a store with S3's interface that is not AWS."),
    Setting("s3_region", "str", None, "The AWS region that the bucket is in."),
)

AZURE = (
    Setting("azureblockblob_container_name", "str", "celery", "The container of results."),
    Setting("azureblockblob_base_path", "str", "", "The first part of the names of blobs."),
    Setting("azureblockblob_retry_initial_backoff_sec", "int", 2, "Seconds before the first retry."),
    Setting("azureblockblob_retry_increment_base", "int", 2, "What the pause grows by between two retries."),
    Setting("azureblockblob_retry_max_attempts", "int", 3, "How often a failing request is tried again."),
    Setting("azureblockblob_connection_timeout", "int", 20, "Seconds that a connection may take to open."),
    Setting("azureblockblob_read_timeout", "int", 120, "Seconds that a read may take."),
    Setting("cosmosdbsql_database_name", "str", "celerydb", "The database of results."),
    Setting("cosmosdbsql_collection_name", "str", "celerycol", "The collection of results."),
    Setting("cosmosdbsql_consistency_level", "str", "Session", "The consistency level of requests."),
    Setting("cosmosdbsql_max_retry_attempts", "int", 9, "How often a throttled request is tried again."),
    Setting("cosmosdbsql_max_retry_wait_time", "int", 30, "Seconds that retries of a request may last in all."),
)

GOOGLE = (
    Setting("gcs_bucket", "str", None, "The bucket of results."),
    Setting("gcs_project", "str", None, "The Google Cloud project of the bucket."),
    Setting("gcs_base_path", "str", "", "The first part of the names of objects."),
    Setting("gcs_ttl", "float", 0.0, "Seconds after which a result is deleted; 0 keeps it."),
    Setting("gcs_threadpool_maxsize", "int", 10, "How many threads fetch results of groups."),
    Setting("firestore_project", "str", None, "The project of the Firestore that counts chords; unset: gcs_project."),
)

STORES = (
    *REDIS,
    *DATABASE,
    *CACHE,
    *MONGODB,
    *COUCHBASE,
    *ARANGODB,
    *CASSANDRA,
    *ELASTICSEARCH,
    *S3,
    *AZURE,
    *GOOGLE,
)
