//! What one job leaves to the next, reaches of others or takes from them: cases 98 to 116, and 137.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = left_behind();
    cases.extend(planted());
    cases.extend(shared());
    cases.extend(costs());
    cases.extend(slots());
    cases
}

/// What a job leaves to the next one in its slot.
fn left_behind() -> Vec<Case> {
    vec![
        case(
            98,
            "memories, tables, globals, segments and exceptions of the job before, memory swapped out by the host or not",
            "never seen, by core modules, components and `wasi:http`",
            &[
                "leftovers::what_a_job_has_changed_is_as_it_was_for_the_next_one_in_its_slot",
                "leftovers::without_reuse_a_request_finds_nothing_of_the_one_before",
                "swapped::nothing_of_a_job_that_was_swapped_out_is_found_by_the_next_one",
                "isolation::memory_is_new_for_every_job",
                "confine::pagemap_scan::tests::a_scan_for_pages_that_are_present_asks_for_those_elsewhere_as_well",
                "wasm::engine::settings::tests::a_pool_scans_where_the_kernel_can",
            ],
        ),
        Case {
            falls_short: "stacks are not reset: no guest reads from its stack what it has not written there",
            ..case(
                99,
                "code, initial memory and merged pages, which jobs share",
                "code is sealed; the kernel merges no pages",
                &[
                    "wasm::engine::sealed::tests::what_is_sealed_cannot_be_changed",
                    "confine::ksm::tests::merging_that_was_inherited_is_ended",
                ],
            )
        },
    ]
}

/// Links and directories that a handler puts in the place of others.
fn planted() -> Vec<Case> {
    vec![
        case(
            100,
            "a mount or a served directory below another handler's writable mount: renamed, replaced by a link, in a race of 100,000 renames",
            "held from the load on; nothing outside is read or changed, with Landlock and without",
            &[
                "planted::a_mount_within_a_writable_mount_is_held_whatever_is_put_in_its_place",
                "planted::a_link_in_the_place_of_a_mount_is_refused_by_every_verb",
                "planted::race::a_hundred_thousand_renames_race_with_requests_and_reloads_for_nothing",
                "planted::race::a_hundred_thousand_renames_race_for_nothing_without_landlock_as_well",
                "planted::race::a_handler_that_displaces_a_mount_again_and_again_leads_no_other_out",
                "planted::displaced::a_directory_that_a_route_serves_is_held_whatever_a_handler_puts_in_its_place",
                "planted::a_version_that_is_swapped_in_has_the_mounts_that_are_held",
                "confine::untrusted::tests::a_writable_directory_that_a_handler_has_made_a_link_is_refused",
                "wasm::host::files::tests::a_directory_that_takes_the_place_of_a_mount_is_out_of_reach",
            ],
        ),
        case(
            101,
            "modules, keys, sockets, records, the cache or the configuration where a handler may write",
            "refused with the key, by the check, the start and a reload",
            &[
                "planted::what_the_daemon_looks_up_in_a_writable_mount_is_refused_with_its_key",
                "planted::a_configuration_in_a_writable_mount_is_refused_and_one_beside_it_is_not",
                "planted::a_reload_after_which_a_handler_could_write_to_a_module_is_refused",
                "planted::a_bind_mount_is_no_way_around",
                "confine::untrusted::tests::a_name_is_found_that_leads_through_what_is_writable_and_out_again",
                "confine::untrusted::tests::a_file_with_a_second_name_in_what_is_writable_is_found",
            ],
        ),
        case(
            102,
            "what jobs of an earlier configuration may still write to",
            "counts until they have ended; a rollback grants nothing anew",
            &[
                "planted::earlier::a_reload_that_drops_write_follows_no_planted_link",
                "planted::earlier::a_configuration_that_jobs_of_the_one_before_could_rewrite_is_refused",
                "planted::earlier::an_upgrade_to_a_mount_that_is_out_of_reach_is_refused_as_a_reload_is",
                "planted::earlier::what_jobs_of_the_process_before_may_write_to_counts_until_it_has_ended",
                "planted::earlier::a_rollback_grants_no_mount_that_the_configuration_no_longer_has",
                "confine::untrusted::tests::a_directory_that_is_held_counts_where_it_lies_now",
            ],
        ),
        case(
            103,
            "links and crates planted for `replay` and `build`",
            "not followed, not built",
            &[
                "planted::offline::a_replay_follows_no_link_that_another_handler_has_planted_since",
                "planted::a_crate_that_a_handler_could_have_written_is_not_built",
                "planted::offline::a_crate_that_has_cargo_run_what_a_handler_could_have_written_is_not_built",
                "planted::offline::a_build_below_the_directory_of_a_configuration_knows_what_its_handlers_may_write_to",
            ],
        ),
        case(
            104,
            "a mount of `/proc`, where the daemon's memory and environment are",
            "refused by the check, `run` and the start",
            &["planted::offline::a_mount_that_shows_the_memory_and_environment_of_the_daemon_is_refused"],
        ),
        case(
            105,
            "links that lead out of a mount",
            "not made, moved or linked; one that came to lead out is followed by no path function",
            &[
                "links::a_link_that_leads_out_from_where_it_would_stand_is_not_made",
                "links::a_link_is_not_moved_or_linked_to_where_it_would_lead_out",
                "links::a_link_that_came_to_lead_out_with_its_directory_is_followed_by_no_function",
                "wasm::host::links::tests::a_target_climbs_by_the_dots_at_its_start_and_by_no_others",
            ],
        ),
    ]
}

/// What the process has once: descriptors, memory, look-ups.
fn shared() -> Vec<Case> {
    vec![
        case(
            106,
            "a handler whose jobs hold every descriptor",
            "seven eighths at most; other handlers, clients and operators are served; idle handlers hold no threads",
            &[
                "budgets::a_handler_that_opens_all_it_can_locks_nobody_out",
                "budgets::jobs_for_which_there_are_no_descriptors_are_a_503_that_says_so",
                "budgets::a_job_that_closes_its_files_can_open_others",
                "budgets::handlers_that_do_nothing_hold_no_threads",
                "budgets::mounts_that_a_reload_adds_leave_fewer_descriptors_to_jobs",
                "daemon::descriptors::tests::half_of_the_descriptors_are_for_connections_and_half_of_those_for_one_address",
                "budget::tests::one_handler_takes_seven_eighths_and_another_gets_some_of_the_rest",
            ],
        ),
        case(
            107,
            "jobs that together take more memory than there is, each within its limit",
            "refused beyond `limits.total_memory`, then 503 `memory_total`; the daemon lives on in 256 MiB",
            &[
                "budgets::jobs_within_their_limits_do_not_have_the_daemon_killed_in_a_small_control_group",
                "budgets::memory_of_all_jobs_together_is_bounded_and_one_handler_leaves_some_to_others",
                "budgets::a_job_whose_memory_is_not_free_waits_and_is_then_a_503_that_says_so",
                "budgets::a_guest_that_exits_for_want_of_shared_memory_did_not_fail",
                "budgets::what_a_configuration_asks_for_beyond_what_there_is_is_told_before_it_is_missed",
                "budgets::a_job_that_starts_with_more_than_a_little_memory_gets_it_from_the_reserve",
                "budgets::stacks_that_were_deep_are_given_back_where_memory_is_short",
                "daemon::memory::tests::of_what_there_is_the_daemon_keeps_what_it_needs_itself",
                "observe::cgroup::tests::the_group_and_those_above_it_are_found_in_either_version",
            ],
        ),
        case(
            108,
            "bodies and messages in single bytes or empty pieces",
            "joined: they cost no more memory than their bytes",
            &[
                "pieces::empty_messages_that_a_job_does_not_read_cost_no_more_than_their_bytes",
                "pieces::single_bytes_to_and_from_jobs_that_are_called_cost_no_more_than_their_bytes",
                "job::pipe::tests::small_pieces_cost_no_more_memory_than_large_ones",
                "job::pipe::tests::a_small_piece_does_not_keep_a_large_buffer_alive",
                "http::request::coalesce::tests::crumbs_without_end_are_joined_and_events_are_not",
            ],
        ),
        case(
            109,
            "other queues that nobody reads: pings, lines of the log, input kept for `record`",
            "each is bounded in bytes",
            &[
                "websocket::life::pings_without_end_to_which_nobody_reads_the_answers_fill_no_memory",
                "words::a_log_that_nobody_reads_costs_a_bounded_amount_of_memory",
                "observe::queue::tests::lines_that_wait_are_bounded_in_bytes_the_one_being_written_among_them",
                "engine::journal::tests::long_lines_push_out_more_than_their_number",
                "job::capture::tests::what_is_kept_of_all_running_jobs_is_bounded_and_given_back",
            ],
        ),
        Case {
            figures: &["untaken-responses"],
            ..case(
                137,
                "responses, heads and bodies that many connections leave where they are",
                "bounded in sum by `http.client_memory`; the largest connections of the address that holds most are closed",
                &[
                    "client_memory::responses_that_a_client_never_takes_are_bounded_in_sum",
                    "client_memory::heads_that_never_end_are_bounded_in_sum",
                    "client_memory::field_sections_of_http2_that_never_end_are_bounded_in_sum",
                    "client_memory::bodies_that_are_read_ahead_are_bounded_in_sum",
                    "client_memory::what_clients_have_taken_is_not_held_any_more",
                    "http::wire::client_memory::tests::beyond_the_limit_the_largest_connections_of_the_address_that_holds_most_close",
                ],
            )
        },
        case(
            110,
            "a handler that asks for names that no name server answers",
            "four look-ups at once; another handler's calls reach their servers",
            &[
                "outbound::names::a_handler_that_asks_for_silent_names_does_not_keep_another_from_asking_servers",
                "net::outbound::resolve::tests::silent_names_of_one_handler_do_not_keep_another_from_asking",
                "net::outbound::resolve::tests::a_look_up_that_nobody_waits_for_holds_its_place_until_its_end",
            ],
        ),
    ]
}

/// Processor time that is not counted, and costs that grow faster than what is asked.
fn costs() -> Vec<Case> {
    vec![
        Case {
            figures: &["directory-loop"],
            ..case(
                111,
                "host calls that compute: directories in a loop, connections, millions of vectors",
                "time of the job; it ends at `limits.cpu`",
                &[
                    "mounts::a_loop_over_a_directory_ends_at_the_limit_on_processor_time",
                    "wasm::host::file_thread_cpu::tests::a_job_is_charged_for_what_a_thread_did_since_it_was_charged_last",
                    "wasm::host::file_thread_cpu::tests::a_job_is_not_charged_for_another_that_has_left",
                    "http::outbound::tests::a_job_pays_for_what_its_connection_computes_and_for_no_other",
                    "fairness::a_call_with_millions_of_vectors_gives_way_to_others_and_ends_at_its_limit",
                    "many::a_program_that_passes_long_lists_costs_no_more_than_their_elements",
                    "many::a_component_with_many_arguments_and_variables_costs_no_more_than_their_number",
                    "many::a_request_with_many_fields_costs_no_more_than_their_number",
                ],
            )
        },
        Case {
            figures: &["listing"],
            ..case(
                112,
                "a directory with a great many entries",
                "reading it takes time in proportion to its entries",
                &[
                    "mounts::a_large_directory_is_listed_in_time_that_grows_with_it_and_not_faster",
                    "wasm::host::directory::tests::a_listing_goes_on_at_each_place_and_begins_anew",
                ],
            )
        },
        case(
            113,
            "configured lists with a great many elements: variables, routes, handlers, wrong names",
            "time in proportion to their length",
            &[
                "job::env::tests::a_great_many_variables_cost_a_request_no_more_than_their_copy",
                "config::linear_time::ten_thousand_routes_take_ten_times_as_long_as_a_thousand",
                "config::linear_time::ten_thousand_handlers_and_settings_of_one_take_ten_times_as_long_as_a_thousand",
                "config::linear_time::ten_thousand_stores_and_databases_take_ten_times_as_long_as_a_thousand",
                "config::linear_time::ten_thousand_clients_and_endpoints_take_ten_times_as_long_as_a_thousand",
                "config::linear_time::a_hundred_thousand_elements_of_a_list_take_ten_times_as_long_as_ten_thousand",
                "growth::ten_times_as_many_routes_take_a_check_ten_times_as_long",
                "growth::ten_times_as_many_handlers_and_gates_take_a_check_ten_times_as_long",
                "growth::ten_times_as_long_settings_take_a_check_ten_times_as_long",
                "growth::ten_times_as_many_stores_databases_and_certificates_take_a_check_ten_times_as_long",
                "config::nearest::tests::a_file_of_wrong_names_is_not_compared_with_itself",
            ],
        ),
    ]
}

/// Slots at the pace of clients, and jobs without the pool.
fn slots() -> Vec<Case> {
    vec![
        Case {
            figures: &["one-address-bodies"],
            ..case(
                114,
                "70 clients of one address that send a byte of a body a second",
                "the same handler answers others",
                &[
                    "pace::bodies_that_come_byte_by_byte_from_one_address_leave_the_same_handler_to_others",
                    "pace::bodies_that_come_byte_by_byte_leave_an_eighth_of_the_slots",
                    "pace::a_body_that_comes_too_slowly_is_a_408_that_says_so",
                    "lengths::a_body_that_is_gathered_takes_no_slot_and_stays_within_its_limits",
                    "http::request::read_ahead::tests::a_body_is_gathered_up_to_what_a_pipe_holds_and_counted_until_it_is_read",
                ],
            )
        },
        Case {
            figures: &["one-address-readers"],
            ..case(
                115,
                "70 clients of one address that sip a large response",
                "the same handler answers others; a download that moves keeps its slot",
                &[
                    "pace::sips_of_large_answers_from_one_address_leave_the_same_handler_to_others",
                    "pace::a_client_that_takes_too_little_is_broken_off_and_the_log_says_so",
                    "pace::a_stream_of_http2_whose_client_opens_no_window_is_broken_off_as_too_slow",
                    "pace::a_job_ends_and_gives_its_slot_back_while_its_client_takes_nothing",
                    "pace::a_component_ends_and_gives_its_slot_back_while_its_client_takes_nothing",
                    "room::downloads_that_move_keep_their_slots",
                    "room::clients_of_one_address_that_hold_their_slots_for_good_leave_some_to_others",
                    "job::jobs_per_client::tests::an_address_that_has_all_it_may_waits_for_a_slot_of_its_own",
                ],
            )
        },
        case(
            116,
            "little address space, so that there is no pool, or no memory for a job",
            "jobs run; 503 beyond, and no handler is blamed",
            &[
                "cramped::jobs_at_once_run_in_little_address_space",
                "cramped::a_job_that_the_host_has_no_memory_for_is_no_failure_of_its_handler",
                "wasm::host::memory_meter::tests::a_store_without_a_pool_has_no_more_parts_than_one_with_it",
            ],
        ),
    ]
}
