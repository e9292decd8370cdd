//! What metrics of the host tell, by name.

/// Sorted by name.
pub(super) const HELP: &[(&str, &str)] = &[
    ("node_arp_entries", "Entries of the ARP table, by device."),
    (
        "node_boot_time_seconds",
        "When the machine was started, in seconds since 1970.",
    ),
    (
        "node_context_switches_total",
        "Switches from one task to another.",
    ),
    (
        "node_cpu_guest_seconds_total",
        "Seconds CPUs ran guests, by mode.",
    ),
    ("node_cpu_seconds_total", "Seconds CPUs spent in each mode."),
    (
        "node_disk_discard_time_seconds_total",
        "Seconds spent on discards.",
    ),
    ("node_disk_discarded_sectors_total", "Sectors discarded."),
    ("node_disk_discards_completed_total", "Discards finished."),
    (
        "node_disk_discards_merged_total",
        "Discards joined with a neighbour.",
    ),
    (
        "node_disk_flush_requests_time_seconds_total",
        "Seconds spent on flushes.",
    ),
    ("node_disk_flush_requests_total", "Flushes finished."),
    ("node_disk_io_now", "Operations the disk is busy with."),
    (
        "node_disk_io_time_seconds_total",
        "Seconds in which the disk was busy.",
    ),
    (
        "node_disk_io_time_weighted_seconds_total",
        "Seconds in which the disk was busy, times operations under way.",
    ),
    ("node_disk_read_bytes_total", "Bytes read."),
    (
        "node_disk_read_time_seconds_total",
        "Seconds spent on reads.",
    ),
    ("node_disk_reads_completed_total", "Reads finished."),
    (
        "node_disk_reads_merged_total",
        "Reads joined with a neighbour.",
    ),
    (
        "node_disk_write_time_seconds_total",
        "Seconds spent on writes.",
    ),
    ("node_disk_writes_completed_total", "Writes finished."),
    (
        "node_disk_writes_merged_total",
        "Writes joined with a neighbour.",
    ),
    ("node_disk_written_bytes_total", "Bytes written."),
    (
        "node_entropy_available_bits",
        "Bits of entropy the kernel has.",
    ),
    (
        "node_entropy_pool_size_bits",
        "Bits of entropy the kernel can keep.",
    ),
    (
        "node_exporter_build_info",
        "Always 1; labels tell what collects these metrics.",
    ),
    ("node_filefd_allocated", "Open files of the whole machine."),
    ("node_filefd_maximum", "Most files that can be open."),
    (
        "node_filesystem_avail_bytes",
        "Bytes everybody can still write to the file system.",
    ),
    (
        "node_filesystem_device_error",
        "1 when the file system cannot be asked.",
    ),
    ("node_filesystem_files", "Inodes of the file system."),
    (
        "node_filesystem_files_free",
        "Free inodes of the file system.",
    ),
    (
        "node_filesystem_free_bytes",
        "Free bytes of the file system, those kept for root included.",
    ),
    (
        "node_filesystem_mount_info",
        "Always 1; labels tell about the mount.",
    ),
    (
        "node_filesystem_readonly",
        "1 when the file system is mounted read-only.",
    ),
    ("node_filesystem_size_bytes", "Size of the file system."),
    ("node_forks_total", "Processes started."),
    (
        "node_interrupts_total",
        "Interrupts served, by CPU and kind; those that never happened are left out.",
    ),
    ("node_intr_total", "Interrupts served."),
    (
        "node_kernel_hung_tasks_total",
        "Tasks found hanging since the machine was started.",
    ),
    ("node_load1", "Load average over one minute."),
    ("node_load15", "Load average over fifteen minutes."),
    ("node_load5", "Load average over five minutes."),
    (
        "node_network_info",
        "Always 1; labels tell about the network device.",
    ),
    ("node_network_up", "1 when the network device is up."),
    (
        "node_nf_conntrack_entries",
        "Connections the kernel tracks.",
    ),
    (
        "node_nf_conntrack_entries_limit",
        "Most connections the kernel can track.",
    ),
    (
        "node_nf_conntrack_stat_drop",
        "Packets dropped because connection tracking failed.",
    ),
    (
        "node_nf_conntrack_stat_early_drop",
        "Tracked connections given up to make room for new ones.",
    ),
    (
        "node_nf_conntrack_stat_found",
        "Searches for a tracked connection that found one.",
    ),
    (
        "node_nf_conntrack_stat_ignore",
        "Packets that belong to a tracked connection already.",
    ),
    (
        "node_nf_conntrack_stat_insert",
        "Tracked connections entered into the table.",
    ),
    (
        "node_nf_conntrack_stat_insert_failed",
        "Tracked connections that could not be entered into the table.",
    ),
    (
        "node_nf_conntrack_stat_invalid",
        "Packets that cannot be tracked.",
    ),
    (
        "node_nf_conntrack_stat_search_restart",
        "Searches in the table begun again because it was resized.",
    ),
    (
        "node_os_info",
        "Always 1; labels tell about the operating system.",
    ),
    (
        "node_os_version",
        "Version of the operating system as a number.",
    ),
    (
        "node_processes_max_processes",
        "Most processes there can be.",
    ),
    ("node_processes_max_threads", "Most threads there can be."),
    ("node_processes_pids", "Processes there are."),
    ("node_processes_state", "Processes, by state."),
    ("node_processes_threads", "Threads there are."),
    ("node_procs_blocked", "Processes that wait for a disk."),
    ("node_procs_running", "Processes that could run."),
    (
        "node_schedstat_running_seconds_total",
        "Seconds tasks ran, by CPU.",
    ),
    (
        "node_schedstat_timeslices_total",
        "Timeslices the CPU has run.",
    ),
    (
        "node_schedstat_waiting_seconds_total",
        "Seconds tasks that could run waited for the CPU.",
    ),
    (
        "node_scrape_collector_duration_seconds",
        "Seconds the last collection took, by collector.",
    ),
    (
        "node_scrape_collector_success",
        "1 when the last collection worked, by collector.",
    ),
    (
        "node_selinux_current_mode",
        "1 when SELinux enforces, 0 when it only warns.",
    ),
    ("node_selinux_enabled", "1 when SELinux is there."),
    (
        "node_softnet_backlog_len",
        "Packets that wait to be processed, by CPU.",
    ),
    (
        "node_softnet_cpu_collision_total",
        "Collisions of CPUs over a device lock.",
    ),
    (
        "node_softnet_dropped_total",
        "Packets dropped because the queue was full, by CPU.",
    ),
    (
        "node_softnet_flow_limit_count_total",
        "How often the flow limit was reached, by CPU.",
    ),
    ("node_softnet_processed_total", "Packets processed, by CPU."),
    (
        "node_softnet_received_rps_total",
        "Wake-ups for packets steered from another CPU.",
    ),
    (
        "node_softnet_times_squeezed_total",
        "How often processing stopped because its time was over, by CPU.",
    ),
    (
        "node_systemd_service_restart_total",
        "How often systemd has started the service again by itself.",
    ),
    (
        "node_systemd_socket_accepted_connections_total",
        "Connections the socket unit has accepted.",
    ),
    (
        "node_systemd_socket_current_connections",
        "Connections of the socket unit that are open.",
    ),
    (
        "node_systemd_socket_refused_connections_total",
        "Connections the socket unit has refused.",
    ),
    (
        "node_systemd_system_running",
        "1 when systemd counts the machine as running, 0 when starting, degraded or stopping.",
    ),
    (
        "node_systemd_timer_last_trigger_seconds",
        "When the timer was last due, in seconds since 1970; 0 when it never was.",
    ),
    (
        "node_systemd_unit_start_time_seconds",
        "When the unit became active, in seconds since 1970; 0 when it is not.",
    ),
    (
        "node_systemd_unit_state",
        "1 for the state the unit is in, 0 for the others.",
    ),
    (
        "node_systemd_unit_tasks_current",
        "Processes and threads of the service.",
    ),
    (
        "node_systemd_unit_tasks_max",
        "Most processes and threads the service can have.",
    ),
    ("node_systemd_units", "Units, by state."),
    (
        "node_systemd_version",
        "Version of systemd as a number; the label has all of it.",
    ),
    (
        "node_systemd_virtualization_info",
        "Always 1; the label names the kind of virtualization.",
    ),
    (
        "node_tcp_connection_states",
        "TCP sockets by state, and bytes in their queues.",
    ),
    (
        "node_textfile_mtime_seconds",
        "When a text file was last changed, in seconds since 1970.",
    ),
    (
        "node_textfile_scrape_error",
        "1 when a text file could not be read, else 0.",
    ),
    (
        "node_time_clocksource_available_info",
        "Always 1; the label names a clock source there is.",
    ),
    (
        "node_time_clocksource_current_info",
        "Always 1; the label names the clock source in use.",
    ),
    (
        "node_time_seconds",
        "The machine's clock, in seconds since 1970.",
    ),
    (
        "node_time_zone_offset_seconds",
        "Offset of the local time zone from UTC.",
    ),
    (
        "node_timex_estimated_error_seconds",
        "How far off the clock probably is.",
    ),
    (
        "node_timex_frequency_adjustment_ratio",
        "By what the clock's speed is multiplied to correct it.",
    ),
    (
        "node_timex_loop_time_constant",
        "Time constant of the clock's phase-locked loop.",
    ),
    (
        "node_timex_maxerror_seconds",
        "How far off the clock is at most.",
    ),
    (
        "node_timex_offset_seconds",
        "How far the clock is from the reference clock.",
    ),
    (
        "node_timex_pps_calibration_total",
        "Calibration intervals of the pulse.",
    ),
    (
        "node_timex_pps_error_total",
        "Calibration errors of the pulse.",
    ),
    (
        "node_timex_pps_frequency_hertz",
        "Frequency of the pulse per second.",
    ),
    (
        "node_timex_pps_jitter_seconds",
        "Jitter of the pulse per second.",
    ),
    (
        "node_timex_pps_jitter_total",
        "How often the jitter of the pulse was too large.",
    ),
    (
        "node_timex_pps_shift_seconds",
        "Length of the interval of the pulse per second.",
    ),
    (
        "node_timex_pps_stability_exceeded_total",
        "How often the pulse's frequency changed too much.",
    ),
    (
        "node_timex_pps_stability_hertz",
        "Average change of the pulse's frequency.",
    ),
    (
        "node_timex_status",
        "Status bits of the clock's discipline.",
    ),
    (
        "node_timex_sync_status",
        "1 when something disciplines the clock, else 0.",
    ),
    (
        "node_timex_tai_offset_seconds",
        "Offset of International Atomic Time.",
    ),
    (
        "node_timex_tick_seconds",
        "Seconds between two ticks of the clock.",
    ),
    ("node_udp_queues", "Bytes in UDP queues."),
    ("node_uname_info", "Always 1; labels are what uname tells."),
];
