//! Abuse by handlers: cases 35 to 65, 132, 133 and 136.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = answers();
    cases.extend(appetite());
    cases.extend(reach());
    cases
}

/// Invalid responses, and variables.
fn answers() -> Vec<Case> {
    vec![
        case(
            35,
            "line breaks and lies in an answer's fields",
            "502; fields about the connection are dropped",
            &[
                "errors::output_that_is_no_answer_is_a_502",
                "corpus::any_document_of_a_handler",
                "speaker::proxy::fields_that_would_break_the_framing_cannot_be_made",
            ],
        ),
        case(
            36,
            "a `Proxy` field that becomes HTTP_PROXY",
            "it becomes no variable",
            &["cgi::meta::tests::httpoxy_and_underscored_twins_are_left_out"],
        ),
        case(
            37,
            "fields whose names collide as variables",
            "dropped",
            &[
                "cgi::meta::tests::httpoxy_and_underscored_twins_are_left_out",
                "cgi::meta::variable::tests::no_two_fields_share_a_variable",
            ],
        ),
        case(
            38,
            "variables of another job or of the daemon",
            "never seen",
            &[
                "isolation::two_jobs_never_see_each_others_variables",
                "isolation::a_job_sees_the_variables_of_its_request_and_none_of_the_daemon",
            ],
        ),
        case(
            47,
            "no output, a bad status, a trap, an end in the middle",
            "502; broken off after the head",
            &[
                "errors::an_exit_status_is_a_502_with_the_last_line_of_stderr",
                "errors::a_trap_is_a_502_and_the_log_says_where",
                "errors::a_failure_after_the_head_breaks_the_stream_off_before_its_last_chunk",
            ],
        ),
        case(
            48,
            "lies about the length; a body where none may be",
            "never out of step",
            &[
                "errors::a_failure_after_an_announced_length_breaks_off_before_that_length",
                "http::head_is_answered_with_the_head_alone",
                "speaker::both::a_body_that_is_not_what_it_says_never_looks_whole",
                "speaker::proxy::a_body_that_is_longer_than_it_says_is_cut",
            ],
        ),
        case(
            49,
            "jobs that start jobs without end",
            "refused at a depth and a number",
            &[
                "calls::a_loop_ends_at_the_depth_with_an_error_that_says_so",
                "calls::one_request_starts_so_many_jobs_and_no_more",
                "outbound::bounds::a_handler_that_asks_its_own_daemon_for_itself_comes_to_an_end",
            ],
        ),
    ]
}

/// Time, memory, output, files.
fn appetite() -> Vec<Case> {
    vec![
        Case {
            figures: &["spinners"],
            ..case(
                39,
                "guests that compute for ever",
                "504 at `limits.cpu`; neighbours unaffected",
                &[
                    "errors::a_guest_that_computes_too_long_is_a_504",
                    "errors::guests_that_spin_on_every_core_do_not_keep_others_from_being_answered",
                    "fairness::a_handler_that_spins_on_every_core_leaves_another_its_p99",
                    "fairness::a_call_with_millions_of_vectors_gives_way_to_others_and_ends_at_its_limit",
                ],
            )
        },
        Case {
            figures: &["admin"],
            ..case(
                136,
                "any load on handlers, while operators and probes ask",
                "they are answered",
                &[
                    "fairness::operators_and_probes_are_answered_beside_any_load",
                    "admin::no_load_on_the_handlers_keeps_an_operator_out",
                ],
            )
        },
        Case {
            figures: &["fills"],
            ..case(40, "one long operation on memory", "over within 100 ms of `limits.cpu`", &[])
        },
        case(
            41,
            "guests that wait for ever",
            "504 at `limits.time`",
            &["errors::a_guest_that_waits_too_long_is_a_504"],
        ),
        Case {
            figures: &["growth"],
            ..case(
                42,
                "memory without end",
                "refused at `limits.memory`, and over all jobs at `limits.total_memory`",
                &[
                    "isolation::memory_is_given_up_to_its_limit_and_not_one_page_further",
                    "exceptions::exceptions_that_pile_up_are_memory_of_the_job_and_gone_with_it",
                    "isolation::a_guest_that_falls_over_for_want_of_memory_is_told_as_that",
                    "wasm::host::memory_meter::tests::several_memories_share_one_limit",
                    "budgets::memory_of_all_jobs_together_is_bounded_and_one_handler_leaves_some_to_others",
                    "budgets::a_job_whose_memory_is_not_free_waits_and_is_then_a_503_that_says_so",
                    "budgets::jobs_within_their_limits_do_not_have_the_daemon_killed_in_a_small_control_group",
                ],
            )
        },
        case(
            43,
            "tables and instances without end",
            "refused",
            &[
                "wasm::host::memory_meter::tests::tables_count_by_their_slots_and_nothing_overflows",
                "isolation::a_guest_that_starts_with_more_memory_than_it_may_have_is_refused_at_the_start",
            ],
        ),
        case(
            44,
            "recursion without end",
            "502, and nothing else happens; a stack that was deep is given back where memory is short",
            &[
                "isolation::a_stack_without_end_ends_the_job_and_nothing_else",
                "budgets::stacks_that_were_deep_are_given_back_where_memory_is_short",
            ],
        ),
        case(
            45,
            "output without end",
            "the guest waits for its reader; memory is flat",
            &[
                "streaming::a_gibibyte_goes_through_in_flat_memory",
                "errors::output_is_taken_at_its_limit_and_broken_off_one_byte_later",
            ],
        ),
        case(
            46,
            "stderr without end",
            "so many lines a second; the rest is counted",
            &[
                "errors::a_flood_on_stderr_is_left_out_of_the_log_and_counted",
                "limits::what_is_said_on_stderr_is_logged_within_its_limits_and_the_rest_is_counted",
            ],
        ),
        case(
            50,
            "files opened without end",
            "refused at a number, and at a share of what the process may have; none is left open",
            &[
                "isolation::a_job_may_hold_some_files_and_leaves_none_of_them_open",
                "limits::a_job_opens_files_up_to_its_handles_and_is_refused_the_next_as_a_process_is",
                "budgets::a_handler_that_opens_all_it_can_locks_nobody_out",
                "budgets::mounts_that_a_reload_adds_leave_fewer_descriptors_to_jobs",
                "budgets::jobs_for_which_there_are_no_descriptors_are_a_503_that_says_so",
            ],
        ),
        case(
            51,
            "files that never answer",
            "other handlers go on",
            &[
                "mounts::files_that_hang_hold_up_their_own_handler_alone",
                "mounts::a_fifo_a_socket_and_a_device_in_a_mount_are_refused_at_once",
            ],
        ),
        case(
            53,
            "a disk that is full",
            "the guest is told, and nobody else",
            &[
                "faults::a_full_disk_is_the_concern_of_the_guest_that_fills_it",
                "disk::a_full_disk_costs_what_is_written_to_it_and_nothing_else",
            ],
        ),
        Case {
            figures: &["host-calls"],
            ..case(54, "memory of the host, by calls to it", "bounded a call", &[])
        },
        case(
            55,
            "resources without end",
            "bounded a job",
            &[
                "speaker::both::answers_that_are_none_are_told_as_the_handlers_fault",
                "speaker::service::streams_that_a_handler_hoards_are_bounded",
            ],
        ),
        Case {
            figures: &["trap-storm"],
            ..case(
                61,
                "a storm of traps",
                "each is cheap, and then all is well",
                &[
                    "fairness::a_trap_costs_no_more_than_a_few_answers",
                    "fairness::a_handler_that_traps_on_and_on_leaves_another_its_p99",
                ],
            )
        },
        case(
            62,
            "what a job before has left in memory",
            "zeroed",
            &["isolation::memory_is_new_for_every_job"],
        ),
        Case {
            figures: &["full-queue"],
            ..case(
                63,
                "a handler that takes all the slots",
                "its neighbours have theirs",
                &[
                    "errors::the_slots_and_the_line_in_front_of_them_are_taken_and_one_more_is_a_503",
                    "fairness::a_handler_whose_line_is_full_takes_no_place_of_another",
                    "limits::one_handler_cannot_take_every_place_of_the_daemon",
                ],
            )
        },
        case(
            64,
            "handlers that never read the body",
            "little is read ahead; the rest is dropped or closed",
            &[
                "streaming::a_guest_that_does_not_read_holds_the_client_up",
                "http::a_body_nobody_read_does_not_become_the_next_request",
            ],
        ),
        Case {
            falls_short: "no call of wasmtime-wasi 48.0.8 is known that panics; what catches a panic is shown by case 88",
            ..case(65, "calls that make the host panic", "that job ends, nothing else", &[])
        },
    ]
}

/// Files, network, clocks.
fn reach() -> Vec<Case> {
    vec![
        case(
            52,
            "ways out of a mount",
            "none leads out",
            &[
                "isolation::no_way_leads_out_of_a_mount",
                "mounts::a_hundred_ways_out_of_a_mount_are_shut",
                "mounts::links_that_a_guest_makes_and_moves_lead_nowhere",
                "mounts::whoever_wins_a_race_of_renames_no_guest_gets_out",
                "links::a_link_that_leads_out_from_where_it_would_stand_is_not_made",
                "links::a_link_is_not_moved_or_linked_to_where_it_would_lead_out",
                "links::a_link_that_came_to_lead_out_with_its_directory_is_followed_by_no_function",
            ],
        ),
        case(
            132,
            "a job that fills its own `/tmp`: holes, files without a name, a great many names, a deep tree",
            "bounded in bytes and in names; all of it goes with the job, or with the next start",
            &[
                "tmp::what_a_job_has_in_tmp_is_bounded_whichever_way_it_writes",
                "tmp::a_component_that_answers_by_itself_has_one_for_each_request",
                "tmp::a_job_that_is_cut_short_leaves_nothing",
                "tmp::what_a_daemon_that_was_killed_left_is_gone_when_the_next_one_serves",
                "tmp::what_a_run_that_was_interrupted_left_is_gone_with_the_next_one",
                "scratch::tree::tests::a_tree_deeper_than_any_path_is_measured_and_removed_and_links_are_not_followed",
                "scratch::tree::tests::a_tree_wider_than_the_names_that_are_kept_is_counted_once",
                "scratch::quota::tests::however_many_bytes_a_job_may_have_its_names_have_a_bound",
                "scratch::job_directories::tests::the_room_of_a_job_is_given_back_when_its_directory_is_gone_and_not_before",
            ],
        ),
        case(
            133,
            "a job that looks for what another had in `/tmp`, or moves it to a mount",
            "never seen; refused as between two disks",
            &[
                "tmp::jobs_at_the_same_time_never_see_each_others_files",
                "tmp::each_job_finds_an_empty_tmp_and_the_variable_that_names_it",
                "tmp::nothing_moves_between_tmp_and_a_mount",
                "scratch::job_directories::tests::a_directory_in_which_a_job_made_something_is_not_kept_whatever_the_clock_says",
                "wasm::host::files::tests::the_threads_of_a_handler_reach_its_jobs_directories_and_no_other_handlers",
            ],
        ),
        case(
            56,
            "requests to addresses inside",
            "refused unless granted",
            &[
                "outbound::matrix::of_all_spellings_only_those_that_are_granted_reach_a_server",
                "outbound::matrix::a_proxy_of_the_environment_is_not_used",
            ],
        ),
        case(
            57,
            "names that change their address",
            "the address that was checked is the one connected to",
            &[
                "net::outbound::dial::tests::a_name_is_looked_up_once_and_that_address_is_connected_to",
                "outbound::matrix::an_allowed_name_at_an_address_without_a_grant_is_denied_with_the_line_to_add",
            ],
        ),
        case(
            58,
            "requests to elsewhere without end",
            "bounded in number, size and time",
            &[
                "outbound::bounds::one_call_more_than_the_limit_is_refused",
                "outbound::bounds::calls_that_are_held_open_count_until_they_are_let_go",
                "outbound::bounds::a_response_at_the_limit_passes_and_one_byte_more_does_not",
                "outbound::bounds::a_server_that_says_nothing_costs_its_deadline_and_no_processor",
                "outbound::bounds::a_server_that_drips_is_cut_off_at_the_end_of_the_whole_time",
                "net::outbound::resolve::tests::silent_names_of_one_handler_do_not_keep_another_from_asking",
                "outbound::names::a_handler_that_asks_for_silent_names_does_not_keep_another_from_asking_servers",
            ],
        ),
        case(
            59,
            "sockets of its own",
            "not there",
            &["outbound::bounds::a_core_module_cannot_ask_and_a_components_sockets_stay_shut"],
        ),
        Case {
            falls_short: "clocks are not coarsened and loads are not masked: handlers of parties that do not trust each other \
                          belong into daemons of their own (SECURITY.md)",
            ..case(60, "time as a side channel", "a process for each party", &[])
        },
    ]
}
