//! What a handler may do: cases 35 to 65.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = answers();
    cases.extend(appetite());
    cases.extend(reach());
    cases
}

/// Answers that are none, and variables.
fn answers() -> Vec<Case> {
    vec![
        case(
            35,
            "line breaks and lies in an answer's fields",
            "502; fields about the connection are dropped",
            &["errors::output_that_is_no_answer_is_a_502"],
        ),
        case(36, "a `Proxy` field that becomes HTTP_PROXY", "it becomes no variable", &[]),
        case(37, "fields whose names collide as variables", "dropped", &[]),
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
            ],
        ),
        case(49, "jobs that start jobs without end", "refused at a depth and a number", &[]),
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
                ],
            )
        },
        case(40, "one long operation on memory", "bounded by `limits.memory`", &[]),
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
                "refused at `limits.memory`",
                &[
                    "isolation::memory_is_given_up_to_its_limit_and_not_one_page_further",
                    "isolation::a_guest_that_falls_over_for_want_of_memory_is_told_as_that",
                ],
            )
        },
        case(43, "tables and instances without end", "refused", &[]),
        case(
            44,
            "recursion without end",
            "502, and nothing else happens",
            &["isolation::a_stack_without_end_ends_the_job_and_nothing_else"],
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
            &["errors::a_flood_on_stderr_is_left_out_of_the_log_and_counted"],
        ),
        case(
            50,
            "files opened without end",
            "refused at a number; none is left open",
            &["isolation::a_job_that_holds_too_many_files_is_ended_and_leaves_none_of_them_open"],
        ),
        case(51, "files that never answer", "other handlers go on", &[]),
        case(53, "a disk that is full", "the guest is told, and nobody else", &[]),
        case(54, "memory of the host, by calls to it", "bounded a call", &[]),
        case(55, "resources without end", "bounded a job", &[]),
        Case {
            figures: &["trap-storm"],
            ..case(61, "a storm of traps", "each is cheap, and then all is well", &[])
        },
        case(
            62,
            "what a job before has left in memory",
            "zeroed",
            &["isolation::memory_and_globals_are_new_for_every_job"],
        ),
        Case {
            figures: &["full-queue"],
            ..case(
                63,
                "a handler that takes all the slots",
                "its neighbours have theirs",
                &["errors::the_slots_and_the_line_in_front_of_them_are_taken_and_one_more_is_a_503"],
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
        case(65, "calls that make the host panic", "that job ends, nothing else", &[]),
    ]
}

/// Files, network, clocks.
fn reach() -> Vec<Case> {
    vec![
        case(52, "ways out of a mount", "none leads out", &["isolation::no_way_leads_out_of_a_mount"]),
        case(56, "requests to addresses inside", "refused unless granted", &[]),
        case(
            57,
            "names that change their address",
            "the address that was checked is the one connected to",
            &[],
        ),
        case(58, "requests to elsewhere without end", "bounded in number, size and time", &[]),
        case(59, "sockets of its own", "not there", &[]),
        Case {
            falls_short: "clocks are not coarsened and loads are not masked: handlers of parties that do not trust each other \
                          belong into daemons of their own (SECURITY.md)",
            ..case(60, "time as a side channel", "a process for each party", &[])
        },
    ]
}
