//! Abuse by local users and faults of the host: cases 78 to 97, and 134.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = local();
    cases.extend(faults());
    cases
}

/// Sockets, configuration, signals.
fn local() -> Vec<Case> {
    vec![
        case(
            78,
            "a socket file that is there already",
            "stale and ours: replaced; anything else stays",
            &[
                "sockets::a_stale_socket_is_replaced",
                "sockets::a_live_daemons_socket_is_refused_and_stays",
                "sockets::a_file_that_is_not_ours_is_refused_and_stays",
            ],
        ),
        case(
            79,
            "a socket's path that is exchanged",
            "never removed if it is not ours",
            &["sockets::a_socket_that_somebody_else_put_there_meanwhile_stays"],
        ),
        case(
            80,
            "a socket seen with too wide a mode",
            "never",
            &["sockets::a_socket_is_never_seen_with_another_mode_or_group"],
        ),
        case(
            81,
            "a configuration that is half written",
            "the old one goes on",
            &["endurance::a_configuration_cut_off_at_any_byte_leaves_the_old_one_serving"],
        ),
        case(
            82,
            "a reload with listeners that cannot be bound",
            "all or nothing",
            &[
                "lifecycle::a_listener_that_cannot_be_bound_leaves_everything_as_it_was",
                "lifecycle::a_reload_opens_new_listeners_and_closes_old_ones_and_keeps_the_rest",
            ],
        ),
        case(
            85,
            "SIGTERM before the gate is open",
            "ends well, leaves nothing",
            &["gate::a_signal_to_end_while_it_is_shut_ends_it_well_and_leaves_nothing_behind"],
        ),
        case(86, "a gate opened twice", "once is enough", &["net::gate::tests::opening_twice_says_already"]),
        case(
            87,
            "clients that come before the gate is open",
            "all are served",
            &["gate::two_thousand_clients_that_come_while_it_is_shut_are_all_answered"],
        ),
        case(
            89,
            "sockets of systemd that are not as announced",
            "refused",
            &[
                "sockets::sockets_of_systemd_are_served_by_fd",
                "sockets::without_sockets_of_systemd_an_fd_is_refused_in_one_line",
            ],
        ),
        case(
            90,
            "clients that hold up the end",
            "cut off at `grace`",
            &[
                "lifecycle::two_hundred_slow_requests_are_finished_after_a_signal_to_end",
                "room::a_request_that_was_accepted_before_the_daemon_drains_is_answered_though_it_has_no_slot_yet",
                "lifecycle::what_does_not_end_in_time_is_cut_off_and_the_exit_status_says_so",
            ],
        ),
        case(
            96,
            "the program replaced under load",
            "no request is lost",
            &[
                "upgrade::twenty_upgrades_under_load_refuse_no_connection_and_lose_no_request",
                "upgrade::a_new_program_that_fails_leaves_the_old_one_serving",
            ],
        ),
    ]
}

/// Disks, clocks, crashes.
fn faults() -> Vec<Case> {
    vec![
        case(
            83,
            "a disk that is full or fails under log and cache",
            "serving goes on; it is counted",
            &[
                "faults::a_cache_that_cannot_be_written_costs_the_next_start_time_and_nothing_else",
                "disk::a_full_disk_costs_what_is_written_to_it_and_nothing_else",
                "disk::a_log_that_cannot_be_written_is_counted_and_costs_no_request",
            ],
        ),
        case(
            84,
            "a clock that jumps",
            "deadlines are monotonic",
            &["jobs::scheduler::timetable::tests::a_clock_that_jumps_starts_no_storm"],
        ),
        case(
            88,
            "a panic in a task",
            "that task ends, nothing else",
            &["engine::supervise::tests::a_panic_of_ours_ends_its_job_and_nothing_else"],
        ),
        Case {
            figures: &["killed"],
            ..case(
                91,
                "SIGKILL at any moment",
                "the next start is clean",
                &[
                    "endurance::a_daemon_killed_while_it_swaps_starts_cleanly",
                    "faults::a_daemon_that_is_killed_at_any_time_starts_again",
                ],
            )
        },
        case(
            92,
            "a log that nobody reads",
            "lines are dropped; serving goes on",
            &["lifecycle::a_reader_of_the_log_that_has_stalled_does_not_hold_up_the_end"],
        ),
        case(
            93,
            "a file system that hangs",
            "off the threads that serve",
            &["mounts::files_that_hang_hold_up_their_own_handler_alone"],
        ),
        Case {
            figures: &["no-memory"],
            falls_short: "what the kernel kills for want of memory, systemd starts again (`Restart=`): see 91",
            ..case(94, "no memory left on the host", "guests are refused it; serving goes on", &[])
        },
        case(
            134,
            "a restart under load",
            "no request on a kept connection is broken, with a proxy in front or without; load balancers are told before",
            &[
                "restarts::restarts_under_load_break_no_request_on_a_kept_connection",
                "restarts::restarts_under_load_break_no_request_on_a_kept_connection_over_tls",
                "restarts::restarts_under_load_break_no_stream_of_http2",
                "restarts::restarts_under_load_break_no_stream_of_http2_over_tls",
                "restarts::restarts_behind_nginx_turn_no_post_into_a_502",
                "restarts::during_the_delay_of_a_shutdown_probes_are_told_and_requests_answered",
            ],
        ),
        case(
            95,
            "secrets in core dumps and logs",
            "no dumps, no values",
            &[
                "admin::a_secret_is_named_and_not_shown",
                "secrets::no_secret_is_shown_to_operators",
                "secrets::a_secret_where_a_handler_may_write_is_refused",
                "hardening::the_daemon_gives_up_privileges_capabilities_core_dumps_and_system_calls",
            ],
        ),
        Case {
            figures: &["crashed"],
            falls_short: "started here as systemd does it (`Restart=`)",
            ..case(
                97,
                "a crash outside of a guest",
                "the process ends; serves within a second of its next start",
                &[],
            )
        },
    ]
}
