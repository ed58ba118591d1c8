//! The driver suite against a group whose second log stands in for the first: what a driver promises, a group does. Left
//! out is the case that counts the partitions of a topic: a group has those of each of its brokers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::Balancing;
use sluice_broker::{BrokerDriver, LogOptions, conformance::Subject, conformance_suite};
use sluice_message::Topic;
use tempfile::TempDir;

use super::{Pair, directories};

struct GroupSubject {
    directories: [TempDir; 2],
    topics: AtomicUsize,
}

impl GroupSubject {
    fn new() -> Self {
        Self { directories: directories(), topics: AtomicUsize::new(0) }
    }
}

impl Subject for GroupSubject {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        async {
            Arc::new(Pair::open(&self.directories, Balancing::RoundRobin, true).group)
                as Arc<dyn BrokerDriver>
        }
        .boxed()
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        let number = self.topics.fetch_add(1, Ordering::SeqCst);
        async move { Topic::from(format!("{name}-{number}")) }.boxed()
    }

    fn missing_topic(&self) -> Topic {
        Topic::from("missing")
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        LogOptions::default().max_message_bytes + 1
    }
}

conformance_suite! { GroupSubject::new(), only
    a_broker_stays_the_same_over_restarts,
    a_publish_names_the_place_where_a_reader_finds_the_message,
    every_part_of_a_message_survives_the_round_trip,
    headers_survive_as_claimed,
    the_content_type_survives,
    each_publisher_keeps_its_order_among_others,
    a_missing_topic_is_made_or_refused,
    a_message_over_the_limit_is_refused_and_harms_no_other,
    publishing_after_close_fails_as_closed,
    closing_waits_for_what_is_in_flight,
    a_reader_at_latest_sees_what_is_acknowledged_from_then_on,
    a_reader_at_latest_misses_nothing_under_load,
    a_reader_at_earliest_sees_all,
    a_reader_after_a_position_starts_right_behind_it,
    a_position_beyond_the_end_is_lost,
    one_reader_reads_two_topics,
    two_readers_of_one_topic_both_see_all,
    a_batch_stays_within_its_limit,
    a_message_larger_than_the_limit_comes_alone,
    a_dropped_fetch_loses_nothing,
    a_reader_that_stops_at_the_end_sees_all_and_ends,
    a_reader_that_stops_at_the_end_ends_at_once_where_nothing_is,
    a_position_at_a_time_lies_before_all_of_that_time_and_later,
    a_check_finds_what_is_there,
    what_is_not_claimed_is_refused,
    a_topic_covers_itself_and_no_other,
    only_a_group_commits,
    a_group_never_stops_at_the_end,
    a_group_continues_behind_its_commit_after_a_restart,
    a_new_group_starts_where_it_was_told,
    two_groups_do_not_disturb_each_other,
    a_group_keeps_what_came_while_its_reader_was_away,
    a_group_gets_its_messages_in_order_with_rising_offsets,
    what_is_not_committed_comes_again_to_the_next_reader,
    a_commit_of_one_topic_leaves_the_other,
    a_commit_of_a_former_reader_does_no_harm,
    a_reader_that_is_not_committed_to_stops_and_goes_on_after_a_commit,
    members_of_a_group_share_the_work_and_take_over,
    a_cut_connection_fails_publishes_and_later_ones_succeed,
    a_silent_broker_fails_publishes_in_time,
    a_check_says_that_the_broker_is_away_and_when_it_is_back,
    a_driver_opened_before_its_broker_is_there_works_once_it_is,
    a_reader_at_latest_goes_on_after_an_outage,
    a_group_gets_after_an_outage_what_was_not_committed_and_what_it_missed,
    an_address_where_nobody_listens_is_told,
    another_protocol_at_the_address_is_told,
    settings_that_cannot_work_are_told
}
