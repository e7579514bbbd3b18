//! What the store promises, the same on every database: SQLite in a file, SQLite in memory, a real PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod crash;
mod files;
mod log;
mod office;
mod records;
mod roster;
mod servers;
mod tenancy;
mod world;

/// Each test once for each database.
macro_rules! contract {
    ($($room:ident::$name:ident),+ $(,)?) => {
        mod sqlite_file { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
            let world = crate::world::World::file().await;
            crate::$room::$name(&world).await;
            world.end().await;
        })+ }
        mod sqlite_memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
            let world = crate::world::World::memory().await;
            crate::$room::$name(&world).await;
            world.end().await;
        })+ }
        mod postgres { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
            let world = crate::world::World::postgres().await;
            crate::$room::$name(&world).await;
            world.end().await;
        })+ }
    };
}

contract! {
    roster::records_that_were_added_are_read_back_whole,
    roster::an_id_twice_is_taken_and_an_unknown_owner_does_not_exist,
    roster::a_stale_version_is_refused_and_of_many_writers_one_wins,
    roster::the_switch_says_whether_it_moved,
    roster::the_seventeenth_destination_is_refused_even_when_all_come_at_once,
    roster::a_new_ingest_host_takes_the_key_away_and_a_key_for_another_host_is_refused,
    roster::a_version_of_a_key_is_taken_once_also_after_it_was_deleted,
    roster::a_rewrap_replaces_only_what_it_read,
    roster::a_deleted_agent_takes_its_destinations_keys_and_picture_and_leaves_history,
    roster::a_key_is_noted_as_used_once_a_minute_and_revoked_once,
    roster::a_revoked_key_takes_the_sessions_that_it_opened_and_no_others,
    roster::a_session_is_never_left_open_by_a_key_that_is_revoked_at_the_same_moment,
    roster::any_text_is_kept_as_it_is,
    tenancy::another_tenant_sees_and_changes_nothing,
    tenancy::lists_are_walked_without_gaps_or_repeats,
    log::events_of_many_matches_at_once_are_all_there_in_order,
    log::an_unknown_match_fails_alone,
    log::a_snapshot_replaces_exactly_what_it_covers,
    log::what_waited_when_the_store_closed_is_answered_truly,
    log::phases_note_start_and_end_and_a_closed_match_stays_closed,
    log::sessions_and_streams_are_found_while_they_last,
    office::a_flag_is_unknown_until_set,
    office::the_audit_is_newest_first_cannot_be_changed_and_its_ids_tell_nothing,
    office::entries_and_sessions_of_an_older_schema_are_read_by_the_new_one,
    office::usage_adds_up_by_day,
    office::a_key_is_taken_once_until_its_call_fails,
    office::old_things_go_and_the_rest_stays,
    office::the_oldest_logs_go_while_all_are_too_large,
    office::a_check_counts_and_names_the_schema,
}
