//! The written contract of the two traits, run on every backend.
//!
//! Each story takes an empty store; a backend joins with one line at the end of this file. In all stories that list or
//! replay, two subscriptions of two clients stand beside each other.

mod alert;
mod audit;
mod backlog;
mod beside;
mod campaign;
mod erasure;
mod harness;
mod health;
mod history;
mod jobs;
mod keys;
mod minutes;
mod order;
mod ownership;
mod publishing;
mod registry;
mod replaying;
mod retention;
mod routing;
mod schema;
mod settling;
mod survey;
mod token;
mod whereabouts;
mod workers;

macro_rules! contract {
    ($backend:ident: $($file:ident { $($story:ident),+ $(,)? })+) => {
        mod $backend {
            $(mod $file {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    let (store, _guard) = crate::harness::$backend().await;
                    crate::$file::$story(store).await;
                })+
            })+
        }
    };
}

macro_rules! every_story {
    ($backend:ident) => {
        contract! { $backend:
            publishing {
                an_event_is_published_once,
                a_batch_reports_what_it_refuses_by_its_place,
                instants_beyond_the_years_1970_to_9999_are_refused,
                another_payload_under_a_key_is_refused,
                keys_belong_to_their_client,
                one_key_from_a_hundred_tasks_is_one_event,
                many_small_publishes_keep_their_answers_apart,
                a_large_batch_is_published_whole,
            }
            routing {
                pointers_come_in_order_of_publication,
                payloads_come_in_the_order_in_which_they_are_asked_for,
                an_event_is_routed_to_those_who_want_it,
                routing_again_makes_no_second_delivery,
                what_cannot_be_sent_ends_without_a_request,
                a_subscription_removed_meanwhile_ends_what_is_routed_to_it,
                rows_come_due_in_order_and_lanes_say_when_they_are_due,
                a_read_goes_on_after_a_position_and_keeps_to_each_limit,
            }
            settling {
                a_success_ends_a_delivery,
                a_failure_moves_it_and_is_remembered,
                a_row_that_moved_is_left_alone,
                a_success_counts_wherever_its_row_has_gone,
                what_is_written_again_after_a_lost_answer_is_there_once,
                a_late_success_does_not_undo_a_replay,
                a_replay_ends_with_its_own_success_after_a_late_one,
                a_fault_of_ours_records_nothing,
                an_end_without_a_request_can_come_twice,
                gone_for_good_suspends_once,
                what_is_not_finished_is_counted,
                what_was_tried_before_its_time_waits_for_a_retry,
            }
            audit {
                each_change_is_kept_with_what_was_before,
                each_client_has_its_own_pages,
            }
            keys {
                a_key_takes_the_place_of_another_and_all_is_sealed_anew,
                a_rotation_goes_on_where_one_was_cut_short,
            }
            order {
                what_waits_for_one_that_is_put_back_is_parked_and_let_go_in_order,
                keys_do_not_wait_for_each_other,
                some_are_let_go_at_a_time_and_before_what_is_due_later,
                one_whose_retries_are_used_up_is_kept_until_it_is_retried_or_cancelled,
                a_retry_does_not_have_one_go_before_others,
                without_an_order_nobody_waits_any_more,
                what_was_kept_goes_when_nothing_is_to_be_held_any_more,
                nobody_is_let_go_behind_the_back_of_a_release,
                whoever_asks_is_told_the_recipient,
                only_the_owner_lets_anybody_go,
            }
            health {
                transitions_are_kept_and_the_newer_one_counts,
                an_open_breaker_holds_until_its_probe_is_due,
                failing_for_long_suspends_and_resuming_probes,
                whoever_changes_a_subscription_in_doubt_has_it_probed,
                who_resumes_without_what_was_held_gets_only_what_comes_later,
                who_resumes_with_the_latest_gets_one_for_each_recipient,
            }
            alert {
                contacts_come_back,
                a_failure_is_raised_once_with_its_transition,
                what_ends_dead_is_counted_with_its_settlement,
                what_is_claimed_is_told_by_nobody_else,
                what_tells_of_it_is_published_once_with_its_claim,
                what_is_added_while_it_is_told_has_an_event_of_its_own,
                the_next_stage_of_a_failure_is_told_though_mail_has_failed,
                who_listens_does_not_wait_for_mail_that_nobody_takes,
                a_message_says_what_waits_and_what_was_answered,
                each_client_has_its_own_list,
            }
            registry {
                a_subscription_comes_back_as_it_was_added,
                what_a_profile_leaves_to_it_comes_back,
                headers_of_its_own_are_kept_and_replaced,
                credentials_stay_with_their_host,
                names_are_taken_once_for_each_client,
                settings_change_but_not_whose_they_are,
                pause_and_resume,
                secrets_are_sealed_and_rotated,
                a_secret_may_sign_beside_the_next_for_a_while,
                what_is_under_an_unknown_profile_is_held,
                what_its_profile_asks_too_much_of_is_held,
                removing_ends_what_is_unfinished,
                every_write_is_seen_by_the_owner,
                retry_makes_one_due_now,
                cancel_ends_one_for_good,
                what_is_asked_twice_is_done_once,
                each_change_is_counted,
                nobody_replaces_what_was_changed_meanwhile,
            }
            history {
                lists_are_newest_first_and_paged,
                filters_restrict,
                what_is_unfinished_is_counted_by_its_status,
                what_is_rare_is_found_over_several_pages,
                cursors_are_checked,
                a_delivery_shows_its_attempts,
                an_event_shows_its_deliveries,
                attempts_come_in_the_order_in_which_they_were_settled,
                what_was_settled_is_filtered_as_lists_are,
            }
            replaying {
                chosen_deliveries_become_due_again,
                a_filter_takes_what_has_ended,
                a_replay_does_not_touch_what_comes_after_it,
                what_cannot_be_sent_again_is_skipped,
                a_filter_goes_straight_to_what_can_match,
                a_long_replay_goes_in_chunks_and_takes_each_once,
                a_fresh_key_is_of_its_replay_alone,
                unknown_deliveries_are_not_found,
            }
            jobs {
                a_subscription_has_some_of_a_replay_at_a_time,
                one_that_is_held_does_not_hold_up_the_others,
                a_rate_spreads_what_becomes_due,
                a_replay_is_paused_resumed_and_called_off,
                of_two_replays_of_the_same_one_sends_it,
                what_is_on_its_way_when_a_replay_is_asked_for_is_not_sent_twice,
                what_was_never_delivered_goes_to_a_newer_subscription,
                only_what_its_filter_wants_is_missing,
                what_failed_since_then_is_chosen_and_counted,
                so_many_are_looked_at_and_no_more,
                another_subscription_of_the_client_gets_it_in_place_of_its_own,
                a_burst_for_one_that_is_held_does_not_hide_the_others,
                a_replay_waits_for_what_lies_aside_and_nobody_waits_for_it,
                of_two_that_are_asked_for_at_the_same_moment_one_sends_it,
                what_is_missing_of_a_campaign_is_found_among_what_has_none,
                nothing_is_passed_by_where_it_goes_to_another_one_at_a_rate,
                one_that_is_held_while_it_is_waited_for_does_not_hold_up_the_other,
                what_had_failed_before_a_replay_was_asked_for_is_taken_again,
                a_replay_of_one_client_takes_nothing_of_another,
            }
            campaign {
                what_rows_and_pointers_are_of_is_told_while_something_is_stopped,
                what_is_paused_goes_aside_and_comes_back,
                a_cancelled_campaign_ends_what_there_is_of_it_wherever_it_lies,
                a_recipient_is_held_by_a_stop_of_its_own,
                what_lies_aside_ends_like_all_else,
                a_long_campaign_is_let_go_and_ended_in_chunks,
                what_has_expired_is_told_as_such_whatever_holds_it,
                a_report_counts_one_clients_campaign,
                the_clients_of_a_campaign_are_found,
            }
            whereabouts {
                an_event_is_found_with_all_that_it_may_have_gone_to,
                whoever_was_removed_before_is_no_candidate,
                what_waits_in_order_says_for_whom,
                what_holds_an_event_is_told,
            }
            backlog {
                a_client_whose_backlog_is_full_is_refused_until_a_tenth_is_free,
            }
            retention {
                what_is_over_is_forgotten_with_all_that_is_known_of_it,
                what_a_replay_is_to_look_at_is_kept,
                what_is_held_for_too_long_ends_and_is_told_before,
                what_was_not_told_does_not_end,
                answers_and_the_audit_have_ages_of_their_own,
            }
            erasure {
                a_person_is_erased_wherever_her_events_are,
                a_client_is_erased_as_a_whole,
            }
            token {
                a_token_comes_back_as_it_was_made,
                what_cannot_be_a_token_is_refused,
                a_token_ends_at_its_very_instant,
                a_token_that_is_revoked_lets_nobody_in,
                a_use_is_noted_once_a_minute,
                whether_anybody_is_let_in_is_told,
                the_tokens_of_a_client_go_with_it,
                no_worker_is_told_of_tokens,
                whoever_is_of_one_client_revokes_its_tokens_alone,
            }
            minutes {
                what_is_added_to_a_minute_is_summed,
                each_client_has_its_own_figures,
                each_subscription_has_its_own_figures,
                figures_are_forgotten_after_two_days,
                figures_far_ahead_are_forgotten,
                the_figures_of_a_client_go_with_it,
                the_figures_of_a_subscription_go_with_it,
                how_much_waits_is_noted_once_a_minute,
            }
            survey {
                what_waits_and_who_delivers_is_counted,
                what_is_held_is_not_overdue,
                what_waits_is_told_by_shard,
                certificates_that_end_soon_are_told,
            }
            ownership {
                a_lease_is_held_renewed_and_given_back,
                without_the_lease_nothing_moves,
                under_a_lease_without_shards_nothing_is_found,
                publishers_do_not_disturb_the_owner,
            }
        }
    };
}

every_story!(sqlite);
every_story!(postgres);

#[tokio::test]
async fn a_survey_needs_no_key() {
    survey::it_needs_no_key(&harness::Schema::new().await).await;
}

/// Stories that need a database on which several workers deliver.
mod several {
    macro_rules! stories {
        ($($story:ident),+ $(,)?) => {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                crate::workers::$story(&crate::harness::Schema::new().await).await;
            })+
        };
    }

    stories! {
        live_workers_share_evenly,
        surplus_is_kept_until_it_is_given,
        who_leaves_keeps_what_is_under_way_and_the_others_are_told,
        each_sees_what_lies_in_its_own_shards,
        owners_of_foreign_lanes_are_told,
        what_was_given_away_is_left_alone_but_for_successes,
        a_worker_that_is_gone_is_replaced_when_its_lease_is_over,
        a_zombie_settles_nothing_wrongly,
        who_disowns_is_replaced_at_once,
    }
}
