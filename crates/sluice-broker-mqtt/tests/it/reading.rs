//! Reading: wildcards, several filters, QoS.

use serde_json::json;
use sluice_broker::{ErrorKind, StartAt};

use crate::support::{consume, next, payloads, plain, publish, told, try_consume, unused, with};

#[tokio::test]
async fn one_reader_of_a_wildcard_gets_every_topic_with_its_name() {
    for version in ["5", "3.1.1"] {
        let (mqtt, root) = (with(json!({"version": version})), unused("sensors"));
        let filter = format!("{root}/+/temp");
        let mut reader = consume(&mqtt, &[&filter], StartAt::Latest).await;
        publish(&mqtt, format!("{root}/1/other"), "not this").await;
        for sensor in ["1", "2"] {
            publish(&mqtt, format!("{root}/{sensor}/temp"), sensor).await;
        }
        for sensor in ["1", "2"] {
            let found = next(&mut reader).await;
            assert_eq!(found.payload(), sensor.as_bytes());
            assert_eq!(found.place().map(|place| place.topic.as_str()), Some(&*filter));
            assert_eq!(told(&found, "topic"), Some(format!("{root}/{sensor}/temp")));
        }
    }
}

#[tokio::test]
async fn a_message_that_several_filters_match_comes_once_for_the_first() {
    let (mqtt, root) = (plain(), unused("overlap"));
    let filters = [format!("{root}/a/#"), format!("{root}/+/b"), format!("{root}/a/b")];
    let wanted: Vec<_> = filters.iter().map(String::as_str).collect();
    let mut reader = consume(&mqtt, &wanted, StartAt::Latest).await;
    for topic in ["a/b", "c/b", "a/c", "a/b"] {
        publish(&mqtt, format!("{root}/{topic}"), topic).await;
    }
    for (topic, filter) in [("a/b", 0), ("c/b", 1), ("a/c", 0), ("a/b", 0)] {
        let found = next(&mut reader).await;
        assert_eq!(found.payload(), topic.as_bytes());
        assert_eq!(found.place().map(|place| place.topic.as_str()), Some(wanted[filter]));
    }
    publish(&mqtt, format!("{root}/a/last"), "last").await;
    assert_eq!(payloads(&mut reader, 1).await, ["last"]);
}

#[tokio::test]
async fn a_reader_asks_for_the_qos_that_is_set() {
    for qos in [0, 1, 2] {
        let settings = json!({"producer": {"qos": 2}, "consumer": {"qos": qos}});
        let (mqtt, topic) = (with(settings), unused("qos"));
        let mut reader = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
        publish(&mqtt, topic, "m").await;
        assert_eq!(told(&next(&mut reader).await, "qos"), Some(qos.to_string()));
    }
}

#[tokio::test]
async fn readers_under_one_share_each_get_a_part() {
    let (one, other) =
        (with(json!({"consumer": {"share": "work"}})), with(json!({"consumer": {"share": "work"}})));
    let topic = unused("share");
    let mut readers = [
        consume(&one, &[topic.as_str()], StartAt::Latest).await,
        consume(&other, &[topic.as_str()], StartAt::Latest).await,
    ];
    for number in 0..10 {
        publish(&one, topic.clone(), &number.to_string()).await;
    }
    let [first, second] = &mut readers;
    let mut found: Vec<_> = [payloads(first, 5).await, payloads(second, 5).await].concat();
    found.sort();
    assert_eq!(found, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_no_filter_is_refused() {
    let mqtt = plain();
    for filter in ["", "a/#/b", "a+", "#a"] {
        let error = try_consume(&mqtt, &[filter], StartAt::Latest).await.err().expect("it is no filter");
        assert_eq!(error.kind, ErrorKind::NoTopic, "{filter:?}: {error}");
    }
}
