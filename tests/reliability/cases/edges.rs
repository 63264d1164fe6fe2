//! What programs, servers and clients do at the edges of WASI and HTTP: cases 121 to 127, 138, and 140 to 142.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = interfaces();
    cases.extend(amounts());
    cases
}

/// What WASI and HTTP leave open.
fn interfaces() -> Vec<Case> {
    vec![
        case(
            121,
            "a server that resets or leaves a kept connection; trailers to a server",
            "what can be sent twice is sent once more, the rest breaks off; announced trailers arrive",
            &[
                "http::outbound::tests::a_call_over_a_connection_that_its_server_resets_is_made_once_more",
                "http::outbound::tests::a_call_that_cannot_be_made_twice_breaks_off_with_a_connection_that_is_reset",
                "outbound::kept::a_call_over_a_connection_that_its_server_leaves_is_made_once_more",
                "outbound::kept::a_request_that_cannot_be_sent_twice_is_sent_once",
                "http::outbound::tests::trailers_that_a_request_announces_arrive",
            ],
        ),
        case(
            138,
            "a server that never ends its interim responses",
            "the call fails; one interim response does no harm",
            &[
                "outbound::kept::a_server_that_never_ends_its_interim_answers_is_given_up",
                "outbound::kept::interim_answers_before_the_one_are_nothing_to_doubt",
            ],
        ),
        case(
            122,
            "a reader of a program's output that has gone",
            "a module gets `EPIPE`, a component `closed`",
            &[
                "bytes::a_program_whose_reader_has_gone_learns_it",
                "wasm::host::stdio::tests::a_guest_whose_reader_has_gone_is_told_in_its_own_words",
            ],
        ),
        case(
            123,
            "exit statuses of wasip1 from 126 to 255, and -1",
            "the module's own",
            &["bytes::every_exit_status_is_the_module_s_own"],
        ),
        case(
            124,
            "a name in a directory that is not UTF-8",
            "left out of the listing; it hides no other name",
            &[
                "mounts::a_name_that_is_not_utf8_hides_no_other",
                "wasm::host::directory::tests::a_name_that_wasi_cannot_say_hides_no_other",
            ],
        ),
        case(
            125,
            "more memories or tables than a job has room for",
            "two memories and four tables run; more are refused by a line",
            &[
                "held::memories_and_tables_beyond_what_a_job_has_room_for_are_refused_in_the_words_of_the_manual",
            ],
        ),
        case(
            126,
            "subscriptions and pollables without end",
            "`EMFILE` beyond `limits.handles`; a component beyond its pollables is ended",
            &[
                "held::a_poll_takes_as_many_subscriptions_as_handles_and_refuses_one_more",
                "held::a_component_makes_more_pollables_than_it_may_hold_files_and_not_without_end",
            ],
        ),
        Case {
            falls_short: "h2spec expects other responses: see `http.md`",
            ..case(
                127,
                "HTTP/2: DATA after the end of a stream; a pseudo-header field among trailers",
                "that stream is reset, or closes the connection while it is at work; the field is left out",
                &[
                    "http2::data_behind_the_end_of_a_stream_resets_that_stream_alone",
                    "http2::data_behind_the_end_of_a_stream_at_work_closes_the_connection_and_ends_its_jobs",
                    "http2_heads::a_pseudo_field_among_trailers_is_left_out",
                ],
            )
        },
    ]
}

/// Large transfers, and a great many modules.
fn amounts() -> Vec<Case> {
    vec![
        Case {
            figures: &["slow-link-upload"],
            ..case(
                140,
                "a large body that comes at the pace of a slow link",
                "answered, however long it takes: `limits.time` is the handler's",
                &[
                    "transfers::megabytes_at_the_pace_of_a_link_pass_whole_although_the_handler_may_run_for_less",
                    "transfers::a_slow_upload_is_not_the_time_of_a_program_or_of_one_that_it_calls",
                    "transfers::a_slow_upload_is_not_the_time_of_a_component_that_speaks_http",
                    "transfers::a_slow_upload_over_http2_is_not_the_handlers_time",
                ],
            )
        },
        Case {
            figures: &["slow-link-download"],
            ..case(
                141,
                "a large response that is taken at the pace of a link",
                "whole, however long it takes: `limits.time` is the handler's",
                &[
                    "transfers::megabytes_at_the_pace_of_a_link_pass_whole_although_the_handler_may_run_for_less",
                    "transfers::a_slow_download_is_not_the_handlers_time",
                    "transfers::a_slow_download_is_not_the_time_of_a_component_that_speaks_http",
                ],
            )
        },
        Case {
            figures: &["modules"],
            ..case(
                142,
                "more modules than the cache has room for",
                "what the configuration names is not evicted: the next start compiles nothing",
                &[
                    "cached::of_more_modules_than_the_cache_has_room_for_none_is_compiled_at_the_second_start",
                    "cached::what_a_request_keeps_from_being_evicted_is_evicted_when_it_ends",
                ],
            )
        },
    ]
}
