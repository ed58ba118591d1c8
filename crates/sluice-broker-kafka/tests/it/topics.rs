//! Topics that change under a driver: made late, given more partitions, shortened.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    time::{Duration, SystemTime},
};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    admin::{AdminOptions, NewPartitions},
};
use sluice_broker::{BrokerDriver, Consumer, ErrorKind, StartAt};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_message::{Headers, Message, Partition, Position, Topic};

use crate::support::{
    admin, consume, make_topic, message, new_topic, next, open, open_with, payloads, plain, publish, step,
    try_consume, unused_name,
};

fn refreshing_at_once() -> Kafka {
    open_with(&plain(), KafkaOptions { topic_refresh: Duration::from_millis(100), ..KafkaOptions::default() })
}

async fn add_partition(topic: &Topic) {
    let more = NewPartitions::new(topic.as_str(), 2);
    let made = step("add a partition", admin().create_partitions([&more], &AdminOptions::new())).await;
    made.expect("Kafka answers").remove(0).expect("the topic is there");
}

/// Publishes with different keys until one of them falls into this partition; returns that payload.
async fn publish_into(kafka: &Kafka, topic: &Topic, partition: Partition) -> String {
    for number in 0.. {
        let payload = format!("for {}: {number}", partition.0);
        let keyed = Message::builder().key(payload.clone()).payload(payload.clone()).build();
        let receipt = step("publish", kafka.publish(topic, keyed)).await.expect("Kafka is there");
        if receipt.place.is_some_and(|place| place.partition == partition) {
            return payload;
        }
    }
    unreachable!()
}

async fn read_until(reader: &mut Box<dyn Consumer>, payload: &str) {
    while payloads(reader, 1).await != [payload] {}
}

/// A member gives its share back, and takes the next one, while it reads.
async fn read_on(reader: &mut Box<dyn Consumer>) -> Infallible {
    loop {
        next(reader).await.expect("Kafka is there");
    }
}

/// Has Kafka forget everything before this offset, as retention does.
async fn forget_before(topic: &Topic, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic.as_str(), 0, KafkaOffset::Offset(offset)).expect("an offset");
    let deleted = step("delete records", admin().delete_records(&list, &AdminOptions::new())).await;
    deleted.expect("Kafka answers").elements()[0].error().expect("the topic is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_later_can_be_published_to() {
    let topic = unused_name("later");
    let kafka = open(&plain());
    for _ in 0..2 {
        let error = step("publish", kafka.publish(&topic, message("lost"))).await.expect_err("no topic yet");
        assert_eq!(error.kind, ErrorKind::NoTopic, "{error}");
    }
    make_topic(&admin(), &topic, 1).await;
    // Whether Kafka has it is asked at most once a second.
    step("publish at last", async {
        while let Err(error) = kafka.publish(&topic, message("found")).await {
            assert_eq!(error.kind, ErrorKind::NoTopic, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    assert_eq!(payloads(&mut reader, 1).await, ["found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_kafka_does_not_allow_is_no_topic() {
    let kafka = open(&plain());
    for name in ["", ".", "..", "with space", "nul\0", "ö", &"x".repeat(250)] {
        let topic = Topic::from(name);
        let published = step("publish", kafka.publish(&topic, message("lost"))).await.err();
        let consumed = try_consume(&kafka, &topic, StartAt::Latest).await.err();
        let bounds = step("bounds", kafka.bounds(&[topic])).await.err();
        for error in [published, consumed, bounds] {
            assert_eq!(error.map(|error| error.kind), Some(ErrorKind::NoTopic), "{name:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_later_are_read_from_their_first_message() {
    let topic = new_topic("growing", 1).await;
    let kafka = refreshing_at_once();
    let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
    add_partition(&topic).await;
    let payload = publish_into(&kafka, &topic, Partition(1)).await;
    read_until(&mut reader, &payload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reads_partitions_added_later_from_their_first_message() {
    let topic = new_topic("growing-group", 1).await;
    let kafka = refreshing_at_once();
    let start = StartAt::Group { name: topic.as_str().into(), from_earliest: false, sole: false };
    let mut reader = consume(&kafka, &topic, start.clone()).await;
    publish(&kafka, &topic, "first").await;
    assert_eq!(payloads(&mut reader, 1).await, ["first"]);
    drop(reader);
    // Nobody of the group is there when the partition and its messages come.
    add_partition(&topic).await;
    let payload = publish_into(&kafka, &topic, Partition(1)).await;
    let mut reader = consume(&kafka, &topic, start).await;
    read_until(&mut reader, &payload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_of_a_group_outlives_a_reader_that_never_committed() {
    let topic = new_topic("uncommitted", 1).await;
    let kafka = open(&plain());
    publish(&kafka, &topic, "before the group").await;
    let start = StartAt::Group { name: topic.as_str().into(), from_earliest: false, sole: false };
    drop(consume(&kafka, &topic, start.clone()).await);
    publish(&kafka, &topic, "between").await;
    let mut reader = consume(&kafka, &topic, start).await;
    assert_eq!(payloads(&mut reader, 1).await, ["between"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_member_committed_is_not_undone_when_its_partition_comes_back() {
    let topic = new_topic("moving", 2).await;
    let kafka = open(&plain());
    for partition in [0, 1] {
        publish_into(&kafka, &topic, Partition(partition)).await;
    }
    let start = StartAt::Group { name: topic.as_str().into(), from_earliest: true, sole: false };
    let mut one = consume(&kafka, &topic, start.clone()).await;
    let mut early = Position::new();
    while early.len() < 2 {
        early.advance(next(&mut one).await.expect("Kafka is there").place().expect("Kafka has places"));
    }
    step("commit", one.commit(&early)).await.expect("Kafka is there");
    let mut other = tokio::select! {
        other = consume(&kafka, &topic, start.clone()) => other,
        never = read_on(&mut one) => match never {},
    };
    for partition in [0, 1] {
        publish_into(&kafka, &topic, Partition(partition)).await;
    }
    let taken = next(&mut other).await.expect("Kafka is there").place().expect("Kafka has places").clone();
    step("commit", other.commit(&[&taken].into_iter().collect())).await.expect("Kafka is there");
    drop(other);
    let later = publish_into(&kafka, &topic, taken.partition).await;
    read_until(&mut one, &later).await;
    step("commit", one.commit(&early)).await.expect("Kafka is there");
    drop(one);
    let mut next_one = consume(&kafka, &topic, start).await;
    let first = loop {
        let place = next(&mut next_one).await.expect("Kafka is there").place().cloned();
        if let Some(place) = place.filter(|place| place.partition == taken.partition) {
            break place;
        }
    };
    assert!(first.offset > taken.offset, "{} came again", taken.offset.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_whose_messages_are_gone_is_lost() {
    let topic = new_topic("retention", 1).await;
    let kafka = open(&plain());
    for number in 0..6 {
        publish(&kafka, &topic, &format!("m{number}")).await;
    }
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    let first = next(&mut reader).await.expect("Kafka is there");
    drop(reader);
    let position = Position::from_iter(first.place());
    let mut reader = consume(&kafka, &topic, StartAt::After(position.clone())).await;
    assert_eq!(payloads(&mut reader, 1).await, ["m1"]);
    drop(reader);

    forget_before(&topic, 4).await;
    let error = try_consume(&kafka, &topic, StartAt::After(position)).await.err().expect("it is gone");
    assert_eq!(error.kind, ErrorKind::PositionLost, "{error}");
    assert!(error.message.contains("offset 4") && !error.retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_overrun_by_retention_is_told() {
    let topic = new_topic("overrun", 1).await;
    let kafka = open_with(&plain(), KafkaOptions { read_ahead_kib: 1, ..KafkaOptions::default() });
    for _ in 0..6 {
        publish(&kafka, &topic, &"x".repeat(900 << 10)).await;
    }
    // One of these fills the reader's queue, so that it has not fetched the others when they go.
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    next(&mut reader).await.expect("Kafka is there");
    forget_before(&topic, 6).await;
    let error = loop {
        match next(&mut reader).await {
            Ok(message) => {
                assert!(message.place().is_some_and(|place| place.offset.0 < 5), "all were fetched");
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::PositionLost, "{error}");
    assert!(error.message.contains("no longer kept"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_messages_are_gone_goes_on_with_the_first_there_is() {
    let topic = new_topic("retention-group", 1).await;
    let kafka = open(&plain());
    for number in 0..6 {
        publish(&kafka, &topic, &format!("m{number}")).await;
    }
    let start = StartAt::Group { name: topic.as_str().into(), from_earliest: true, sole: false };
    let mut reader = consume(&kafka, &topic, start.clone()).await;
    let first = next(&mut reader).await.expect("Kafka is there");
    reader.commit(&Position::from_iter(first.place())).await.expect("Kafka is there");
    drop(reader);
    forget_before(&topic, 4).await;
    let mut reader = consume(&kafka, &topic, start).await;
    assert_eq!(payloads(&mut reader, 2).await, ["m4", "m5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_is_read_back() {
    use sluice_api::Compression::{Gzip, Lz4, None, Snappy, Zstd};
    let topic = new_topic("compressed", 1).await;
    for compression in [None, Gzip, Snappy, Lz4, Zstd] {
        let mut config = plain();
        config.producer.compression_type = Some(compression);
        let kafka = open(&config);
        let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
        let text = "again and ".repeat(1000);
        publish(&kafka, &topic, &text).await;
        assert_eq!(payloads(&mut reader, 1).await, [text]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_headers_keep_order_and_repeats() {
    let topic = new_topic("headers", 1).await;
    let kafka = open(&plain());
    let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
    let headers: Headers = (0..400u32).map(|n| (format!("h{}", n % 7), n.to_be_bytes().to_vec())).collect();
    let sent = Message::builder().payload("x").headers(headers.clone()).build();
    step("publish", kafka.publish(&topic, sent)).await.expect("Kafka is there");
    assert_eq!(next(&mut reader).await.expect("Kafka is there").headers(), &headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_looked_up_in_each_partition_by_the_time_that_the_message_says() {
    let topic = new_topic("times", 3).await;
    let kafka = open(&plain());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    let start = i64::try_from(now.as_millis()).expect("a time of today") - 60_000;
    let mut places = BTreeMap::new();
    for number in 0..20 {
        let keyed = Message::builder().key(number.to_string()).payload("m").timestamp_ms(start + number * 10);
        let receipt = step("publish", kafka.publish(&topic, keyed.build())).await.expect("Kafka is there");
        places.insert(start + number * 10, receipt.place.expect("Kafka tells places"));
    }
    let bounds = step("bounds", kafka.bounds(std::slice::from_ref(&topic))).await.expect("Kafka is there");
    for time in [start - 1, start + 95, start + 190, start + 191] {
        let position = step("position", kafka.position_at(std::slice::from_ref(&topic), time)).await;
        let position = position.expect("Kafka is there");
        for ((_, partition), held) in &bounds {
            let mut later = places.range(time..).map(|(_, place)| place);
            let first = later.find(|place| place.partition == *partition).map(|place| place.offset);
            let expected = first.unwrap_or(held.end);
            assert_eq!(position.next(&topic, *partition), Some(expected), "{partition:?} at {time}");
        }
    }
}
