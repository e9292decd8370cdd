//! What the figures of INFO are called, as redis_exporter 1.88 calls them, and of which type they
//! are.

use crate::exposition::Kind;

const G: Kind = Kind::Gauge;
const C: Kind = Kind::Counter;

/// A figure of INFO or CLUSTER INFO by its key there: its metric and type. Those of `cluster_…` that
/// are not in the table keep their key as name.
pub(super) fn metric(key: &str) -> Option<&'static str> {
    let found = INFO
        .binary_search_by(|(known, ..)| (*known).cmp(key))
        .ok()?;
    Some(INFO[found].1)
}

/// The family that a series of a histogram or summary belongs to.
pub(crate) fn family(name: &str) -> &str {
    let compound = |base: &&str| COMPOUND.iter().any(|(known, _)| known == base);
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(compound)
        .unwrap_or(name)
}

/// The type of a family whose name begins with `redis_`.
pub(crate) fn kind(family: &str) -> Kind {
    if let Some((_, kind)) = COMPOUND.iter().find(|(known, _)| *known == family) {
        *kind
    } else if let Some((.., kind)) = INFO.iter().find(|(_, name, _)| *name == family) {
        *kind
    } else if family.ends_with("_total") {
        C
    } else {
        G
    }
}

/// What a family whose name begins with `redis_` tells; empty when its name says it all.
pub(crate) fn help(family: &str) -> String {
    if let Some((_, help)) = HELP.iter().find(|(known, _)| *known == family) {
        return (*help).to_owned();
    }
    match INFO.iter().find(|(_, name, _)| *name == family) {
        Some((key, ..)) => format!("{key} of INFO."),
        None if family.starts_with("redis_cluster_") => {
            format!("{} of CLUSTER INFO.", &family["redis_".len()..])
        }
        None => String::new(),
    }
}

/// Families of several series.
const COMPOUND: [(&str, Kind); 3] = [
    ("redis_commands_latencies_usec", Kind::Histogram),
    ("redis_exporter_scrape_duration_seconds", Kind::Summary),
    ("redis_latency_percentiles_usec", Kind::Summary),
];

const HELP: &[(&str, &str)] = &[
    (
        "redis_commands_duration_seconds_total",
        "Seconds spent in each command.",
    ),
    (
        "redis_commands_failed_calls_total",
        "Calls of each command that failed while it ran.",
    ),
    (
        "redis_commands_latencies_usec",
        "Microseconds that calls of each command took.",
    ),
    (
        "redis_commands_rejected_calls_total",
        "Calls of each command that failed before it ran.",
    ),
    ("redis_commands_total", "Calls of each command."),
    (
        "redis_config_client_output_buffer_limit_bytes",
        "Output buffer at which a client of the class is cut off: at once (hard), or after a while (soft).",
    ),
    (
        "redis_config_client_output_buffer_limit_overcome_seconds",
        "How long a client of the class may stay above its soft limit.",
    ),
    (
        "redis_config_io_threads",
        "io-threads of the server's configuration.",
    ),
    (
        "redis_config_maxclients",
        "maxclients of the server's configuration.",
    ),
    (
        "redis_config_maxmemory",
        "maxmemory of the server's configuration; 0 is no limit.",
    ),
    (
        "redis_config_repl_backlog_size",
        "repl-backlog-size of the server's configuration.",
    ),
    (
        "redis_connected_client_info",
        "Always 1; labels tell about a connected client.",
    ),
    (
        "redis_connected_slave_lag_seconds",
        "Seconds since a replica last acknowledged.",
    ),
    (
        "redis_connected_slave_offset_bytes",
        "What a replica has of the replication stream.",
    ),
    (
        "redis_db_avg_ttl_seconds",
        "How long keys with a time to live still have, on average.",
    ),
    ("redis_db_keys", "Keys of each database."),
    ("redis_db_keys_cached", "Cached keys of each database."),
    (
        "redis_db_keys_expiring",
        "Keys of each database that have a time to live.",
    ),
    (
        "redis_db_keys_with_expiring_items",
        "Keys of each database some of whose fields have a time to live.",
    ),
    (
        "redis_errors_total",
        "Errors the server answered with, by code.",
    ),
    (
        "redis_exporter_build_info",
        "Always 1; labels tell what collects these metrics.",
    ),
    (
        "redis_exporter_last_scrape_connect_time_seconds",
        "Seconds the last connection took to make.",
    ),
    (
        "redis_exporter_last_scrape_duration_seconds",
        "Seconds the last collection took.",
    ),
    (
        "redis_exporter_last_scrape_error",
        "1 when the last collection failed; the label says why.",
    ),
    (
        "redis_exporter_scrape_duration_seconds",
        "Seconds that collections took.",
    ),
    ("redis_exporter_scrapes_total", "Collections so far."),
    (
        "redis_instance_info",
        "Always 1; labels tell about the server.",
    ),
    (
        "redis_key_memory_usage_bytes",
        "Memory of a key and its value.",
    ),
    (
        "redis_key_size",
        "Length of a key's value, or how many elements it has; 0 when there is no such key.",
    ),
    ("redis_key_value", "A key's value, where it is a number."),
    ("redis_keys_count", "Keys that match a pattern."),
    (
        "redis_last_slow_execution_duration_seconds",
        "Seconds that the last slow command took.",
    ),
    (
        "redis_latency_percentiles_usec",
        "Microseconds that calls of each command took, by quantile in percent.",
    ),
    (
        "redis_latency_spike_duration_seconds",
        "Seconds that the last latency spike of each event took.",
    ),
    (
        "redis_latency_spike_last",
        "When each event last had a latency spike, in seconds since 1970.",
    ),
    (
        "redis_latest_fork_seconds",
        "Seconds that the last fork took.",
    ),
    (
        "redis_master_last_io_seconds_ago",
        "Seconds since a replica last heard of its primary.",
    ),
    (
        "redis_master_link_up",
        "1 while a replica is connected to its primary.",
    ),
    (
        "redis_master_sync_in_progress",
        "1 while a replica copies all of its primary.",
    ),
    (
        "redis_sentinel_master_ckquorum_status",
        "1 when enough Sentinels are there for a failover.",
    ),
    (
        "redis_sentinel_master_ok_sentinels",
        "Sentinels of a primary that are up, this one included.",
    ),
    (
        "redis_sentinel_master_ok_slaves",
        "Replicas of a primary that are up.",
    ),
    (
        "redis_sentinel_master_sentinels",
        "Sentinels that watch a primary.",
    ),
    ("redis_sentinel_master_slaves", "Replicas of a primary."),
    (
        "redis_sentinel_master_status",
        "1 when a primary is up in the eyes of this Sentinel.",
    ),
    (
        "redis_sentinel_masters",
        "Primaries that this Sentinel watches.",
    ),
    (
        "redis_sentinel_tilt",
        "1 while this Sentinel does not trust its clock.",
    ),
    (
        "redis_slave_info",
        "Always 1; labels tell about a replica's primary.",
    ),
    (
        "redis_slave_repl_offset",
        "What a replica has of its primary's replication stream, bytes.",
    ),
    (
        "redis_slowlog_last_id",
        "Number of the last entry of the slow log.",
    ),
    ("redis_slowlog_length", "Entries of the slow log."),
    (
        "redis_start_time_seconds",
        "When the server was started, in seconds since 1970.",
    ),
    (
        "redis_stream_entries_added_total",
        "Entries ever added to a stream.",
    ),
    (
        "redis_stream_first_entry_id",
        "Time of the first entry of a stream, in milliseconds since 1970.",
    ),
    (
        "redis_stream_group_consumer_idle_seconds",
        "Seconds since a consumer last tried to read.",
    ),
    (
        "redis_stream_group_consumer_messages_pending",
        "Entries delivered to a consumer and not acknowledged.",
    ),
    ("redis_stream_group_consumers", "Consumers of a group."),
    (
        "redis_stream_group_entries_read",
        "Entries that a group has read.",
    ),
    (
        "redis_stream_group_lag",
        "Entries of a stream that a group has yet to read.",
    ),
    (
        "redis_stream_group_last_delivered_id",
        "Time of the last entry a group has read, in milliseconds since 1970.",
    ),
    (
        "redis_stream_group_messages_pending",
        "Entries delivered to a group and not acknowledged.",
    ),
    ("redis_stream_groups", "Groups of a stream."),
    (
        "redis_stream_last_entry_id",
        "Time of the last entry of a stream, in milliseconds since 1970.",
    ),
    (
        "redis_stream_last_generated_id",
        "Time of the newest entry a stream ever had, in milliseconds since 1970.",
    ),
    ("redis_stream_length", "Entries of a stream."),
    (
        "redis_stream_max_deleted_entry_id",
        "Time of the newest entry deleted from a stream, in milliseconds since 1970.",
    ),
    ("redis_up", "1 when the server answers."),
];

/// Keys of INFO, sorted; the metric; its type.
#[rustfmt::skip]
const INFO: &[(&str, &str, Kind)] = &[
    ("acl_access_denied_auth", "redis_acl_access_denied_auth_total", C),
    ("acl_access_denied_channel", "redis_acl_access_denied_channel_total", C),
    ("acl_access_denied_cmd", "redis_acl_access_denied_cmd_total", C),
    ("acl_access_denied_db", "redis_acl_access_denied_db_total", C),
    ("acl_access_denied_key", "redis_acl_access_denied_key_total", C),
    ("acl_access_denied_tls_cert", "redis_acl_access_denied_tls_cert_total", C),
    ("active_defrag_hits", "redis_defrag_hits", G),
    ("active_defrag_key_hits", "redis_defrag_key_hits", G),
    ("active_defrag_key_misses", "redis_defrag_key_misses", G),
    ("active_defrag_misses", "redis_defrag_misses", G),
    ("active_defrag_running", "redis_active_defrag_running", G),
    ("allocator_active", "redis_allocator_active_bytes", G),
    ("allocator_allocated", "redis_allocator_allocated_bytes", G),
    ("allocator_frag_bytes", "redis_allocator_frag_bytes", G),
    ("allocator_frag_ratio", "redis_allocator_frag_ratio", G),
    ("allocator_muzzy", "redis_allocator_muzzy_bytes", G),
    ("allocator_resident", "redis_allocator_resident_bytes", G),
    ("allocator_rss_bytes", "redis_allocator_rss_bytes", G),
    ("allocator_rss_ratio", "redis_allocator_rss_ratio", G),
    ("aof_base_size", "redis_aof_base_size_bytes", G),
    ("aof_buffer_length", "redis_aof_buffer_length", G),
    ("aof_current_rewrite_time_sec", "redis_aof_current_rewrite_duration_sec", G),
    ("aof_current_size", "redis_aof_current_size_bytes", G),
    ("aof_delayed_fsync", "redis_aof_delayed_fsync", G),
    ("aof_enabled", "redis_aof_enabled", G),
    ("aof_last_bgrewrite_status", "redis_aof_last_bgrewrite_status", G),
    ("aof_last_cow_size", "redis_aof_last_cow_size_bytes", G),
    ("aof_last_rewrite_time_sec", "redis_aof_last_rewrite_duration_sec", G),
    ("aof_last_write_status", "redis_aof_last_write_status", G),
    ("aof_pending_bio_fsync", "redis_aof_pending_bio_fsync", G),
    ("aof_pending_rewrite", "redis_aof_pending_rewrite", G),
    ("aof_rewrite_buffer_length", "redis_aof_rewrite_buffer_length", G),
    ("aof_rewrite_in_progress", "redis_aof_rewrite_in_progress", G),
    ("aof_rewrite_scheduled", "redis_aof_rewrite_scheduled", G),
    ("async_loading", "redis_async_loading", G),
    ("avg_pipeline_length_cnt", "redis_client_processing_pipeline_batches_total", C),
    ("avg_pipeline_length_sum", "redis_client_processing_pipeline_commands_total", C),
    ("bf_bloom_capacity_across_objects", "redis_bf_bloom_capacity_across_objects", G),
    ("bf_bloom_defrag_hits", "redis_bf_bloom_defrag_hits_total", C),
    ("bf_bloom_defrag_misses", "redis_bf_bloom_defrag_misses_total", C),
    ("bf_bloom_num_filters_across_objects", "redis_bf_bloom_num_filters_across_objects", G),
    ("bf_bloom_num_items_across_objects", "redis_bf_bloom_num_items_across_objects", G),
    ("bf_bloom_num_objects", "redis_bf_bloom_num_objects", G),
    ("bf_bloom_total_memory_bytes", "redis_bf_bloom_total_memory_bytes", G),
    ("blocked_clients", "redis_blocked_clients", G),
    ("cached_keys", "redis_cached_keys_total", C),
    ("client_biggest_input_buf", "redis_client_biggest_input_buf", G),
    ("client_longest_output_list", "redis_client_longest_output_list", G),
    ("client_output_buffer_limit_disconnections", "redis_client_output_buffer_limit_disconnections_total", C),
    ("client_query_buffer_limit_disconnections", "redis_client_query_buffer_limit_disconnections_total", C),
    ("client_recent_max_input_buffer", "redis_client_recent_max_input_buffer_bytes", G),
    ("client_recent_max_output_buffer", "redis_client_recent_max_output_buffer_bytes", G),
    ("clients_in_timeout_table", "redis_clients_in_timeout_table", G),
    ("cluster_stats_messages_received", "redis_cluster_messages_received_total", G),
    ("cluster_stats_messages_sent", "redis_cluster_messages_sent_total", G),
    ("configured_hz", "redis_configured_hz", G),
    ("connected_clients", "redis_connected_clients", G),
    ("connected_slaves", "redis_connected_slaves", G),
    ("current_client_thread", "redis_current_client_thread", G),
    ("current_eviction_exceeded_time", "redis_current_eviction_exceeded_time_ms", G),
    ("dump_payload_sanitizations", "redis_dump_payload_sanitizations", C),
    ("eventloop_cycles", "redis_eventloop_cycles_total", C),
    ("eventloop_cycles_with_clients_processing", "redis_eventloop_cycles_with_clients_processing_total", C),
    ("eventloop_duration_cmd_sum", "redis_eventloop_duration_cmd_sum_usec_total", C),
    ("eventloop_duration_sum", "redis_eventloop_duration_sum_usec_total", C),
    ("evicted_clients", "redis_evicted_clients_total", C),
    ("evicted_keys", "redis_evicted_keys_total", C),
    ("evicted_scripts", "redis_evicted_scripts_total", C),
    ("expire_cycle_cpu_milliseconds", "redis_expire_cycle_cpu_time_ms_total", C),
    ("expired_fields", "redis_expired_fields_total", C),
    ("expired_keys", "redis_expired_keys_total", C),
    ("expired_stale_perc", "redis_expired_stale_percentage", G),
    ("expired_subkeys", "redis_expired_subkeys_total", C),
    ("expired_time_cap_reached_count", "redis_expired_time_cap_reached_total", C),
    ("hz", "redis_hz", G),
    ("instantaneous_eventloop_cycles_per_sec", "redis_instantaneous_eventloop_cycles_per_sec", G),
    ("instantaneous_eventloop_duration_usec", "redis_instantaneous_eventloop_duration_usec", G),
    ("io_threaded_reads_processed", "redis_io_threaded_reads_processed", C),
    ("io_threaded_writes_processed", "redis_io_threaded_writes_processed", C),
    ("io_threads_active", "redis_io_threads_active", G),
    ("json_num_documents", "redis_json_num_documents", G),
    ("json_total_memory_bytes", "redis_json_total_memory_bytes", G),
    ("keyspace_hits", "redis_keyspace_hits_total", C),
    ("keyspace_misses", "redis_keyspace_misses_total", C),
    ("latest_fork_usec", "redis_latest_fork_seconds", G),
    ("lazyfree_pending_objects", "redis_lazyfree_pending_objects", G),
    ("lazyfreed_objects", "redis_lazyfreed_objects", G),
    ("loading", "redis_loading_dump_file", G),
    ("long_lock_waits", "redis_long_lock_waits_total", G),
    ("master_repl_offset", "redis_master_repl_offset", G),
    ("maxclients", "redis_max_clients", G),
    ("maxfragmentationmemory_desired_reservation", "redis_memory_max_fragmentation_reservation_desired_bytes", G),
    ("maxfragmentationmemory_reservation", "redis_memory_max_fragmentation_reservation_bytes", G),
    ("maxmemory", "redis_memory_max_bytes", G),
    ("maxmemory_desired_reservation", "redis_memory_max_reservation_desired_bytes", G),
    ("maxmemory_reservation", "redis_memory_max_reservation_bytes", G),
    ("mem_aof_buffer", "redis_mem_aof_buffer_bytes", G),
    ("mem_clients_normal", "redis_mem_clients_normal", G),
    ("mem_clients_slaves", "redis_mem_clients_slaves", G),
    ("mem_cluster_links", "redis_mem_cluster_links_bytes", G),
    ("mem_fragmentation_bytes", "redis_mem_fragmentation_bytes", G),
    ("mem_fragmentation_ratio", "redis_mem_fragmentation_ratio", G),
    ("mem_not_counted_for_evict", "redis_mem_not_counted_for_eviction_bytes", G),
    ("mem_overhead_db_hashtable_rehashing", "redis_mem_overhead_db_hashtable_rehashing_bytes", G),
    ("mem_replication_backlog", "redis_mem_replication_backlog_bytes", G),
    ("mem_total_replication_buffers", "redis_mem_total_replication_buffers_bytes", G),
    ("migrate_cached_sockets", "redis_migrate_cached_sockets_total", G),
    ("module_fork_in_progress", "redis_module_fork_in_progress", G),
    ("module_fork_last_cow_size", "redis_module_fork_last_cow_size", G),
    ("number_of_cached_scripts", "redis_number_of_cached_scripts", G),
    ("number_of_functions", "redis_number_of_functions", G),
    ("number_of_libraries", "redis_number_of_libraries", G),
    ("process_id", "redis_process_id", G),
    ("pubsub_channels", "redis_pubsub_channels", G),
    ("pubsub_clients", "redis_pubsub_clients", G),
    ("pubsub_patterns", "redis_pubsub_patterns", G),
    ("pubsubshard_channels", "redis_pubsubshard_channels", G),
    ("rdb_bgsave_in_progress", "redis_rdb_bgsave_in_progress", G),
    ("rdb_changes_since_last_save", "redis_rdb_changes_since_last_save", G),
    ("rdb_current_bgsave_time_sec", "redis_rdb_current_bgsave_duration_sec", G),
    ("rdb_last_bgsave_status", "redis_rdb_last_bgsave_status", G),
    ("rdb_last_bgsave_time_sec", "redis_rdb_last_bgsave_duration_sec", G),
    ("rdb_last_cow_size", "redis_rdb_last_cow_size_bytes", G),
    ("rdb_last_load_keys_expired", "redis_rdb_last_load_expired_keys", G),
    ("rdb_last_load_keys_loaded", "redis_rdb_last_load_loaded_keys", G),
    ("rdb_last_save_time", "redis_rdb_last_save_timestamp_seconds", G),
    ("rdb_saves", "redis_rdb_saves_total", G),
    ("rejected_connections", "redis_rejected_connections_total", C),
    ("repl_backlog_active", "redis_repl_backlog_is_active", G),
    ("repl_backlog_first_byte_offset", "redis_repl_backlog_first_byte_offset", G),
    ("repl_backlog_histlen", "redis_repl_backlog_history_bytes", G),
    ("repl_backlog_size", "redis_replication_backlog_bytes", G),
    ("reply_buffer_expands", "redis_reply_buffer_expands_total", C),
    ("reply_buffer_shrinks", "redis_reply_buffer_shrinks_total", C),
    ("search_bytes_collected", "redis_search_collected_bytes", G),
    ("search_dialect_1", "redis_search_dialect_1", G),
    ("search_dialect_2", "redis_search_dialect_2", G),
    ("search_dialect_3", "redis_search_dialect_3", G),
    ("search_dialect_4", "redis_search_dialect_4", G),
    ("search_errors_indexing_failures", "redis_search_errors_indexing_failures", G),
    ("search_failure_requests_count", "redis_search_failure_requests_count", C),
    ("search_gc_bytes_collected", "redis_search_gc_collected_bytes", G),
    ("search_gc_marked_deleted_vectors", "redis_search_gc_marked_deleted_vectors", G),
    ("search_gc_total_cycles", "redis_search_gc_cycles_total", C),
    ("search_gc_total_docs_not_collected", "redis_search_gc_total_docs_not_collected", G),
    ("search_gc_total_ms_run", "redis_search_gc_run_ms_total", C),
    ("search_global_idle", "redis_search_global_idle", G),
    ("search_global_idle_internal", "redis_search_global_idle_internal", G),
    ("search_global_idle_user", "redis_search_global_idle_user", G),
    ("search_global_total", "redis_search_global_total", G),
    ("search_global_total_internal", "redis_search_global_total_internal", G),
    ("search_global_total_user", "redis_search_global_total_user", G),
    ("search_hnsw_add_exceptions_count", "redis_search_hnsw_add_exceptions_count", C),
    ("search_hnsw_create_exceptions_count", "redis_search_hnsw_create_exceptions_count", C),
    ("search_hnsw_modify_exceptions_count", "redis_search_hnsw_modify_exceptions_count", C),
    ("search_hnsw_remove_exceptions_count", "redis_search_hnsw_remove_exceptions_count", C),
    ("search_hnsw_search_exceptions_count", "redis_search_hnsw_search_exceptions_count", C),
    ("search_hybrid_requests_count", "redis_search_hybrid_requests_count", C),
    ("search_inline_filtering_requests_count", "redis_search_inline_filtering_requests_count", C),
    ("search_largest_memory_index", "redis_search_largest_memory_index_bytes", G),
    ("search_number_of_active_indexes", "redis_search_number_of_active_indexes", G),
    ("search_number_of_active_indexes_indexing", "redis_search_number_of_active_indexes_indexing", G),
    ("search_number_of_active_indexes_running_queries", "redis_search_number_of_active_indexes_running_queries", G),
    ("search_number_of_attributes", "redis_search_number_of_attributes", G),
    ("search_number_of_indexes", "redis_search_number_of_indexes", G),
    ("search_query_queue_size", "redis_search_query_queue_size", G),
    ("search_rdb_load_failure_cnt", "redis_search_rdb_load_failure_count", C),
    ("search_rdb_load_success_cnt", "redis_search_rdb_load_success_count", C),
    ("search_rdb_save_failure_cnt", "redis_search_rdb_save_failure_count", C),
    ("search_rdb_save_success_cnt", "redis_search_rdb_save_success_count", C),
    ("search_reader_resumed_cnt", "redis_search_reader_resumed_count", C),
    ("search_smallest_memory_index", "redis_search_smallest_memory_index_bytes", G),
    ("search_string_interning_store_size", "redis_search_string_interning_store_size", G),
    ("search_successful_requests_count", "redis_search_successful_requests_count", C),
    ("search_total_active_queries", "redis_search_active_queries_total", C),
    ("search_total_active_write_threads", "redis_search_total_active_write_threads", G),
    ("search_total_cycles", "redis_search_cycles_total", C),
    ("search_total_indexed_documents", "redis_search_total_indexed_documents", G),
    ("search_total_indexing_time", "redis_search_indexing_time_ms_total", C),
    ("search_total_ms_run", "redis_search_run_ms_total", C),
    ("search_total_num_docs_in_indexes", "redis_search_total_num_docs_in_indexes", G),
    ("search_total_queries_processed", "redis_search_queries_processed_total", C),
    ("search_total_query_commands", "redis_search_query_commands_total", C),
    ("search_total_query_execution_time_ms", "redis_search_query_execution_time_ms_total", C),
    ("search_used_memory_bytes", "redis_search_used_memory_bytes", G),
    ("search_used_memory_indexes", "redis_search_used_memory_indexes_bytes", G),
    ("search_used_memory_vector_index", "redis_search_used_memory_vector_index_bytes", G),
    ("search_vector_externing_deferred_entry_cnt", "redis_search_vector_externing_deferred_entry_count", C),
    ("search_vector_externing_entry_count", "redis_search_vector_externing_entry_count", C),
    ("search_vector_externing_generated_value_cnt", "redis_search_vector_externing_generated_value_count", C),
    ("search_vector_externing_hash_extern_errors", "redis_search_vector_externing_hash_extern_errors", G),
    ("search_vector_externing_lru_promote_cnt", "redis_search_vector_externing_lru_promote_count", C),
    ("search_vector_externing_num_lru_entries", "redis_search_vector_externing_num_lru_entries", G),
    ("search_worker_pool_suspend_cnt", "redis_search_worker_pool_suspend_count", C),
    ("search_writer_queue_size", "redis_search_writer_queue_size", G),
    ("search_writer_resumed_cnt", "redis_search_writer_resumed_count", C),
    ("search_writer_suspension_expired_cnt", "redis_search_writer_suspension_expired_count", C),
    ("second_repl_offset", "redis_second_repl_offset", G),
    ("server_threads", "redis_server_threads_total", G),
    ("slave_expires_tracked_keys", "redis_slave_expires_tracked_keys", G),
    ("slave_priority", "redis_slave_priority", G),
    ("storage_provider_read_hits", "redis_storage_provider_read_hits", C),
    ("storage_provider_read_misses", "redis_storage_provider_read_misses", C),
    ("sync_full", "redis_replica_resyncs_full", G),
    ("sync_partial_err", "redis_replica_partial_resync_denied", G),
    ("sync_partial_ok", "redis_replica_partial_resync_accepted", G),
    ("tls_ca_cert_expires_in_seconds", "redis_tls_ca_cert_expires_in_seconds", G),
    ("tls_client_cert_expires_in_seconds", "redis_tls_client_cert_expires_in_seconds", G),
    ("tls_server_cert_expires_in_seconds", "redis_tls_server_cert_expires_in_seconds", G),
    ("total_blocking_keys", "redis_total_blocking_keys", G),
    ("total_blocking_keys_on_nokey", "redis_total_blocking_keys_on_nokey", G),
    ("total_client_processing_events", "redis_client_processing_events_total", C),
    ("total_commands_processed", "redis_commands_processed_total", C),
    ("total_connections_received", "redis_connections_received_total", C),
    ("total_error_replies", "redis_total_error_replies", C),
    ("total_eviction_exceeded_time", "redis_eviction_exceeded_time_ms_total", C),
    ("total_net_input_bytes", "redis_net_input_bytes_total", C),
    ("total_net_output_bytes", "redis_net_output_bytes_total", C),
    ("total_net_repl_input_bytes", "redis_net_repl_input_bytes_total", C),
    ("total_net_repl_output_bytes", "redis_net_repl_output_bytes_total", C),
    ("total_reads_processed", "redis_total_reads_processed", C),
    ("total_system_memory", "redis_total_system_memory_bytes", G),
    ("total_watched_keys", "redis_total_watched_keys", G),
    ("total_writes_processed", "redis_total_writes_processed", C),
    ("tracking_clients", "redis_tracking_clients", G),
    ("tracking_total_items", "redis_tracking_total_items", G),
    ("tracking_total_keys", "redis_tracking_total_keys", G),
    ("tracking_total_prefixes", "redis_tracking_total_prefixes", G),
    ("unexpected_error_replies", "redis_unexpected_error_replies", C),
    ("uptime_in_seconds", "redis_uptime_in_seconds", G),
    ("used_active_time_main_thread", "redis_active_time_main_thread_seconds_total", C),
    ("used_cpu_sys", "redis_cpu_sys_seconds_total", C),
    ("used_cpu_sys_children", "redis_cpu_sys_children_seconds_total", C),
    ("used_cpu_sys_main_thread", "redis_cpu_sys_main_thread_seconds_total", C),
    ("used_cpu_user", "redis_cpu_user_seconds_total", C),
    ("used_cpu_user_children", "redis_cpu_user_children_seconds_total", C),
    ("used_cpu_user_main_thread", "redis_cpu_user_main_thread_seconds_total", C),
    ("used_memory", "redis_memory_used_bytes", G),
    ("used_memory_dataset", "redis_memory_used_dataset_bytes", G),
    ("used_memory_functions", "redis_memory_used_functions_bytes", G),
    ("used_memory_lua", "redis_memory_used_lua_bytes", G),
    ("used_memory_overhead", "redis_memory_used_overhead_bytes", G),
    ("used_memory_peak", "redis_memory_used_peak_bytes", G),
    ("used_memory_rss", "redis_memory_used_rss_bytes", G),
    ("used_memory_scripts", "redis_memory_used_scripts_bytes", G),
    ("used_memory_scripts_eval", "redis_memory_used_scripts_eval_bytes", G),
    ("used_memory_startup", "redis_memory_used_startup_bytes", G),
    ("used_memory_vm_eval", "redis_memory_used_vm_eval_bytes", G),
    ("used_memory_vm_functions", "redis_memory_used_vm_functions_bytes", G),
    ("used_memory_vm_total", "redis_memory_used_vm_total", G),
    ("watching_clients", "redis_watching_clients", G),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_metric_once() {
        assert!(INFO.is_sorted_by(|a, b| a.0 < b.0));
        let names: std::collections::BTreeSet<&str> = INFO.iter().map(|(_, n, _)| *n).collect();
        assert_eq!(names.len(), INFO.len());
    }

    #[test]
    fn families_have_the_types_of_redis_exporter() {
        let path = "../../shared/exporter-metrics/redis-1.88.0.prom";
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("SKIPPED: {path} is not there");
            return;
        };
        let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE redis_"));
        for (name, stated) in types.filter_map(|l| l.split_once(' ')) {
            let name = format!("redis_{name}");
            assert_eq!(kind(&name).as_str(), stated, "{name}");
            assert!(
                !help(&name).is_empty() || name.contains("radix") || name.contains("scrape"),
                "{name}"
            );
        }
    }

    #[test]
    fn the_parts_of_a_histogram_are_one_family() {
        let check = |name: &str, expect: &str| assert_eq!(family(name), expect);
        check(
            "redis_commands_latencies_usec_bucket",
            "redis_commands_latencies_usec",
        );
        check(
            "redis_latency_percentiles_usec_sum",
            "redis_latency_percentiles_usec",
        );
        check(
            "redis_latency_percentiles_usec",
            "redis_latency_percentiles_usec",
        );
        check(
            "redis_search_failure_requests_count",
            "redis_search_failure_requests_count",
        );
    }
}
