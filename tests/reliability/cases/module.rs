//! Abuse by uploaded modules and by an operator's client: cases 66 to 77, and 117 to 120.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = uploads();
    cases.extend(changes());
    cases
}

/// Modules, swaps and the admin socket.
fn uploads() -> Vec<Case> {
    vec![
        Case {
            figures: &["compile-bomb"],
            ..case(
                66,
                "a module that is expensive to compile",
                "it fails alone, with its reason",
                &[
                    "compile::a_bomb_fails_alone_with_its_reason_while_requests_go_on",
                    "compile::a_module_of_too_large_parts_is_refused_before_it_is_compiled",
                    "endurance::a_compile_bomb_in_a_swap_is_refused_while_requests_go_on",
                ],
            )
        },
        case(
            67,
            "modules with a great many of anything",
            "refused, or compiled within bounds",
            &[
                "faults::a_spoilt_module_is_refused_with_a_reason_or_is_a_module_all_the_same",
                "compile::a_module_of_too_large_parts_is_refused_before_it_is_compiled",
                "compile::a_small_module_whose_instances_start_slowly_is_refused_before_it_is_compiled",
                "beforehand::a_bound_that_is_lowered_holds_for_code_that_is_kept",
                "wasm::compile::scan::tests::each_part_is_taken_at_its_bound_and_refused_one_past_it",
            ],
        ),
        Case {
            falls_short: "modules do not come from registries: there is nothing to unpack",
            ..case(68, "bombs in the layers of an image", "no layers", &[])
        },
        Case {
            falls_short: "modules do not come from registries: no tar, no manifest",
            ..case(69, "paths and links in an archive", "no archives", &[])
        },
        case(
            70,
            "compiled code that somebody has changed",
            "not used, and compiled anew",
            &[
                "compile::what_was_tampered_with_is_compiled_anew",
                "compile::a_cache_that_is_not_ours_alone_is_not_used_through_a_link_either",
            ],
        ),
        case(
            71,
            "machine code as a module",
            "refused for what it is",
            &[
                "compile::the_worker_refuses_what_is_no_module_in_one_line",
                "config::a_module_that_cannot_be_a_handler_is_one_line_that_says_why",
            ],
        ),
        case(
            72,
            "a module that is half there",
            "the old one serves on",
            &[
                "endurance::a_module_cut_off_at_any_kib_leaves_the_old_one_serving",
                "swap::a_module_that_cannot_serve_leaves_the_old_one_serving",
            ],
        ),
        case(
            73,
            "a swap in the middle of a request",
            "each answer is of one version",
            &[
                "swap::a_request_under_way_ends_on_the_version_it_began_with",
                "endurance::a_thousand_swaps_fail_no_request_and_leave_memory_as_it_was",
            ],
        ),
        case(
            74,
            "a storm of swaps",
            "memory is as before",
            &["endurance::a_thousand_swaps_fail_no_request_and_leave_memory_as_it_was"],
        ),
        case(
            75,
            "imports that are not granted",
            "refused at loading, each named",
            &["config::a_module_that_cannot_be_a_handler_is_one_line_that_says_why"],
        ),
        case(
            76,
            "strangers and web pages at the admin socket",
            "refused",
            &[
                "admin::the_admin_socket_is_its_owner_s_alone",
                "admin::what_web_pages_and_strangers_send_is_refused",
            ],
        ),
        case(
            77,
            "two handlers that claim one route",
            "the configuration is refused",
            &["config::tests::routes_that_conflict_are_reported_at_the_second"],
        ),
    ]
}

/// Changes by operators that go wrong.
fn changes() -> Vec<Case> {
    vec![
        case(
            117,
            "a trial that cannot be held or watched; a promotion, a rollback or a secret that fails",
            "refused, and nothing has changed; no trial goes on without a watch",
            &[
                "swap::a_trial_that_cannot_be_held_changes_nothing",
                "swap::a_trial_whose_watch_is_killed_does_not_go_on_without_it",
                "swap::a_swap_after_a_reload_that_failed_has_the_settings_that_are_in_force",
                "trials::a_promotion_that_fails_changes_nothing",
                "trials::a_rollback_that_fails_changes_nothing_and_succeeds_once_it_can",
                "secrets::a_secret_that_a_handler_fails_with_changes_nothing_and_ends_no_trial",
            ],
        ),
        case(
            118,
            "a version on trial that hangs, is slow or is hardly asked",
            "the old one serves on",
            &[
                "swap::a_version_that_answered_nobody_is_not_promoted",
                "swap::a_version_that_is_400_times_slower_goes_back_by_itself",
                "swap::a_version_that_answered_too_few_goes_back_at_the_end",
                "catalog::trial::tests::a_version_that_hangs_beside_one_that_answers_goes_back",
                "catalog::trial::tests::what_hangs_at_the_end_is_no_vote_for_a_version",
                "catalog::trial::tests::clients_that_gave_up_are_no_answers_and_if_they_waited_long_they_are_failures",
                "catalog::trial::tests::the_fourth_slow_answer_ends_the_trial",
                "catalog::trial::judgement::tests::a_version_that_answered_too_few_is_not_promoted",
            ],
        ),
        case(
            119,
            "a version on trial that fails under load",
            "its fourth failure is its last but for those under way",
            &[
                "swap::a_canary_that_fails_goes_back_by_itself",
                "trials::a_version_that_fails_every_request_fails_few_of_many_clients_before_it_goes_back",
                "catalog::trial::tests::the_fourth_failure_itself_ends_the_trial",
                "catalog::trial::judgement::tests::a_version_that_fails_more_goes_back_before_the_time_is_over",
            ],
        ),
        case(
            120,
            "values of a configuration that a library does not take, such as 26 captures in a path",
            "a line with the key, in `check`, start and reload",
            &[
                "catalog::pattern::tests::as_many_captures_as_the_tree_takes_are_a_path_and_one_more_is_a_mistake",
                "corpus::any_configuration_that_is_read_can_be_served",
                "corpus::any_routes_are_served_or_refused_by_a_line_each",
                "corpus::any_schedule_and_limit_is_kept_or_refused_by_a_line",
            ],
        ),
    ]
}
