//! Abuse by remote clients: cases 1 to 34, 128 to 131, 135 and 139.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = connections();
    cases.extend(heads());
    cases.extend(frames());
    cases.extend(bodies());
    cases
}

/// Slow connections, and too many of them.
fn connections() -> Vec<Case> {
    vec![
        Case {
            figures: &["slow-heads"],
            ..case(
                1,
                "heads that come in drops",
                "closed at `http.head` in all; others unaffected",
                &[
                    "deadlines::a_head_that_comes_in_drops_is_not_given_more_time",
                    "deadlines::a_head_that_does_not_end_is_closed_at_the_head_deadline",
                ],
            )
        },
        case(
            2,
            "connections that say nothing",
            "closed at `http.first_byte`",
            &["deadlines::a_client_that_says_nothing_is_closed_at_the_first_byte_deadline"],
        ),
        Case {
            figures: &["slow-bodies"],
            ..case(
                3,
                "bodies that come in drops or stop",
                "408 at `http.body_idle` or below `http.min_rate`; the same handler answers others",
                &[
                    "pace::bodies_that_come_byte_by_byte_from_one_address_leave_the_same_handler_to_others",
                    "pace::bodies_that_come_byte_by_byte_leave_an_eighth_of_the_slots",
                    "pace::a_body_that_comes_too_slowly_is_a_408_that_says_so",
                    "deadlines::a_body_that_stops_coming_before_the_answer_is_a_408",
                    "deadlines::a_body_that_stops_coming_breaks_the_answer_off_at_its_deadline",
                ],
            )
        },
        Case {
            figures: &["slow-readers"],
            ..case(
                4,
                "clients that do not read",
                "broken off at `http.write_idle` or below `http.min_rate`; the same handler answers others, memory is flat",
                &[
                    "pace::sips_of_large_answers_from_one_address_leave_the_same_handler_to_others",
                    "room::downloads_that_move_keep_their_slots",
                    "room::upgraded_clients_that_say_nothing_keep_their_slots",
                    "room::clients_of_one_address_that_hold_their_slots_for_good_leave_some_to_others",
                    "room::an_address_that_waits_for_its_own_slots_holds_up_no_other",
                    "room::no_client_makes_room_where_one_address_is_given_all_slots",
                    "pace::a_client_that_takes_too_little_is_broken_off_and_the_log_says_so",
                    "pace::a_job_ends_and_gives_its_slot_back_while_its_client_takes_nothing",
                    "pieces::empty_messages_that_a_job_does_not_read_cost_no_more_than_their_bytes",
                    "deadlines::a_client_that_does_not_read_is_closed_at_the_write_deadline",
                    "streaming::a_client_that_does_not_read_holds_the_guest_up",
                ],
            )
        },
        Case {
            figures: &["idle"],
            ..case(
                5,
                "idle connections without end",
                "closed at `http.keep_alive`, or where there is no room, the idlest first; cheap until then",
                &[
                    "deadlines::an_idle_connection_is_closed_at_the_keep_alive_deadline",
                    "crowd::where_there_is_no_room_the_connection_that_was_idle_the_longest_makes_it",
                    "crowd::an_idle_connection_of_http2_makes_room_and_is_told",
                ],
            )
        },
        case(
            6,
            "more connections than there may be",
            "one address has `http.connections_per_peer` at most; other peers and operators are served",
            &[
                "crowd::one_address_has_its_share_and_leaves_the_rest_to_others",
                "crowd::connections_beyond_their_limit_wait_while_all_are_busy",
                "crowd::an_operator_gets_in_where_no_client_does",
            ],
        ),
        case(
            7,
            "no descriptors left for an accept",
            "refused at the start; later, it waits and goes on, and nothing ends",
            &[
                "crowd::more_connections_than_descriptors_are_refused_with_what_to_do",
                "crowd::connections_beyond_the_descriptors_wait_and_are_served_later",
                "starts::a_low_soft_limit_of_open_files_is_raised_to_the_hard_one",
                "starts::more_descriptors_than_there_are_is_told_by_check_and_start_before_they_are_missed",
            ],
        ),
        case(8, "errors of accept", "it goes on", &["faults::no_error_of_accept_ends_the_daemon"]),
        case(
            9,
            "TLS handshakes that stall",
            "ended at their deadline; others unaffected",
            &[
                "tls::serving::a_handshake_has_its_time_and_no_more",
                "tls::serving::silent_clients_do_not_hold_up_a_good_one",
            ],
        ),
        case(10, "old TLS versions, early data", "refused", &["tls::serving::old_versions_are_refused"]),
        case(
            11,
            "bad client certificates",
            "no answer to any",
            &[
                "tls::clients::only_a_good_certificate_is_let_in",
                "tls::clients::a_certificate_that_was_taken_back_is_refused",
                "tls::clients::a_session_is_not_resumed_under_another_configuration",
                "tls::clients::a_session_outlives_no_certificate",
            ],
        ),
    ]
}

/// HTTP/1.1 heads that two parsers could read differently.
fn heads() -> Vec<Case> {
    vec![
        case(
            12,
            "huge heads and targets, many fields",
            "431 and 414 beyond the limits",
            &[
                "http::a_head_is_taken_up_to_its_limit_and_refused_beyond",
                "http::fields_are_taken_up_to_their_limit_and_refused_one_later",
                "http::a_target_is_taken_at_its_limit_and_refused_one_byte_later",
            ],
        ),
        case(
            13,
            "lengths that contradict",
            "refused, and the connection closed",
            &[
                "http::a_length_and_chunks_at_once_are_not_two_requests",
                "smuggling::what_two_servers_could_read_in_two_ways_is_refused_and_the_connection_closed",
            ],
        ),
        case(
            14,
            "bare LF, folded lines, NUL, spaces before the colon",
            "400 and closed",
            &[
                "http::what_is_no_request_is_a_400_and_the_end",
                "smuggling::what_two_servers_could_read_in_two_ways_is_refused_and_the_connection_closed",
                "smuggling::a_refusal_says_why",
            ],
        ),
        Case {
            figures: &["noise"],
            ..case(135, "a million random or malformed requests", "no crash, no connection out of step", &[])
        },
        case(
            15,
            "no Host, two, or another than the target's",
            "400",
            &[
                "http::a_request_without_a_host_is_refused_and_one_with_two_as_well",
                "smuggling::what_two_servers_could_read_in_two_ways_is_refused_and_the_connection_closed",
            ],
        ),
        case(
            16,
            "invalid chunk sizes",
            "400, or closed",
            &[
                "http::a_body_nobody_read_does_not_become_the_next_request",
                "smuggling::a_body_that_is_broken_ends_the_connection_behind_its_answer",
            ],
        ),
        case(
            17,
            "a flood of pipelined requests",
            "one after the other, in order",
            &[
                "http::pipelined_requests_are_answered_in_order",
                "smuggling::requests_before_a_bad_one_are_answered",
            ],
        ),
        case(
            18,
            "Expect: 100-continue, and the handler does not read",
            "100 when the handler reads, never before",
            &[
                "http::a_client_is_not_told_to_continue_when_the_handler_does_not_read",
                "http::a_client_is_told_to_continue_once_the_handler_reads",
            ],
        ),
        case(
            19,
            "CONNECT, TRACE, unknown methods",
            "405 or 501",
            &[
                "http::what_no_handler_can_give_is_a_501_and_the_end_of_the_connection",
                "http::a_method_that_no_route_has_is_a_405_that_names_those_it_has",
            ],
        ),
    ]
}

/// Floods of HTTP/2.
fn frames() -> Vec<Case> {
    vec![
        case(
            20,
            "HTTP/2: streams opened and reset",
            "the connection ends, the jobs with it",
            &["floods::streams_that_are_opened_and_reset", "http2::a_reset_ends_the_job_at_once"],
        ),
        case(
            21,
            "HTTP/2: streams that make the server reset",
            "the connection ends",
            &["floods::streams_that_we_are_made_to_reset"],
        ),
        case(
            22,
            "HTTP/2: CONTINUATION without end, or awaited in vain",
            "the connection ends, at `http.head` at the latest",
            &[
                "floods::a_head_that_goes_on_for_ever",
                "http2_heads::a_head_without_its_end_is_closed_at_the_head_deadline_also_beside_a_request",
            ],
        ),
        case(
            23,
            "HTTP/2: a small head that unpacks to a large one",
            "431, or the connection ends",
            &["floods::heads_that_unpack_to_a_thousand_times_their_size"],
        ),
        case(
            24,
            "HTTP/2: SETTINGS, PING, PRIORITY without end",
            "the connection ends",
            &["floods::frames_that_only_want_to_be_confirmed", "floods::frames_that_say_nothing"],
        ),
        case(25, "HTTP/2: empty DATA without end", "the connection ends", &["floods::data_without_bytes"]),
        case(
            26,
            "HTTP/2: many streams, no window",
            "memory is bounded, the streams end",
            &[
                "floods::responses_that_nobody_takes_are_bounded_and_end",
                "http2::a_client_that_does_not_read_one_response_loses_that_one",
            ],
        ),
        case(
            27,
            "HTTP/2: an idle connection",
            "GOAWAY at `http.keep_alive`",
            &["http2::a_connection_without_requests_is_told_to_go"],
        ),
        case(
            28,
            "HTTP/2: fields that are invalid in HTTP/1.1",
            "refused",
            &["http2_heads::what_would_become_another_request_in_http_1_is_refused"],
        ),
    ]
}

/// Bodies, paths, and facts about the client.
fn bodies() -> Vec<Case> {
    vec![
        case(
            29,
            "bodies larger than they may be",
            "413 as soon as it is known",
            &[
                "errors::a_body_is_taken_at_its_limit_and_refused_one_byte_later",
                "errors::a_body_of_unknown_length_is_taken_at_its_limit_and_refused_one_byte_later",
            ],
        ),
        case(
            30,
            "clients that leave",
            "the job ends within 100 ms",
            &[
                "streaming::a_client_that_leaves_frees_a_guest_that_computes_within_100_ms",
                "streaming::a_client_that_leaves_frees_a_guest_that_reads_within_100_ms",
                "streaming::a_client_that_leaves_frees_a_guest_that_waits_within_100_ms",
                "streaming::a_client_that_leaves_frees_a_guest_that_writes_within_100_ms",
                "smuggling::a_client_that_leaves_is_noticed_though_nobody_reads_what_it_sent",
                "http2::a_client_that_leaves_ends_its_jobs_at_once",
            ],
        ),
        case(
            31,
            "lines and colours forged in the log",
            "escaped",
            &[
                "escapes::no_word_of_a_client_reaches_the_log_as_it_is",
                "escapes::no_word_of_a_guest_reaches_the_log_as_it_is",
                "errors::a_name_of_a_function_cannot_forge_a_line_of_the_log",
            ],
        ),
        case(
            32,
            "paths that decode to something else",
            "decoded once; `..` and controls are 400",
            &[
                "isolation::no_way_leads_out_of_a_mount",
                "handlers::files_shows_nothing_outside_its_mount",
                "scripts::what_is_no_script_is_404_and_no_path_leads_out_of_the_mount",
                "corpus::any_path_and_host_of_a_request",
            ],
        ),
        case(
            128,
            "bodies of unknown length that fill the disk",
            "32 files and 1 GiB at most, half of each for one address; others are served",
            &[
                "lengths::bodies_of_one_address_that_do_not_end_leave_room_for_those_of_another",
                "lengths::a_body_that_is_gathered_takes_no_slot_and_stays_within_its_limits",
            ],
        ),
        case(
            139,
            "bodies of unknown length from a few addresses that never end",
            "the slowest of the address with most makes room for another address",
            &[
                "lengths::bodies_of_few_addresses_that_do_not_end_make_room_for_that_of_another",
                "scratch::spool::tests::a_client_with_less_gets_the_room_of_the_slowest_file_of_those_with_most",
            ],
        ),
        case(
            129,
            "a part of a path that a program takes for an option",
            "400, unless the handler takes it",
            &["captures::a_capture_that_begins_with_a_dash_does_not_become_an_option"],
        ),
        case(
            130,
            "clients that leave a job which finishes without them",
            "it goes on within its limits, and can be ended",
            &[
                "endings::a_job_that_finishes_without_its_client_is_held_to_its_limits",
                "endings::an_operator_ends_a_job_that_finishes_behind_an_answer_that_is_none",
            ],
        ),
        case(
            131,
            "many cancels of HTTP/2 at one moment",
            "no new streams; what is under way is answered",
            &[
                "floods::users_of_a_proxy_that_cancel_at_one_moment_leave_the_others_their_answers",
                "floods::behind_a_thousand_cancels_no_stream_begins_and_those_that_were_begun_end",
                "floods::the_end_of_a_flood_names_what_was_begun",
            ],
        ),
        case(
            33,
            "addresses forged in fields",
            "REMOTE_ADDR is the socket's",
            &["tls::serving::nobody_can_pretend_by_a_header_field"],
        ),
        case(
            34,
            "compressed bodies",
            "never unpacked",
            &["streaming::a_compressed_body_is_passed_on_as_it_came"],
        ),
    ]
}
