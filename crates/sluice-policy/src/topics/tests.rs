//! Choices of topics and keys, by attributes and by expressions in the settings.

use serde_json::json;
use sluice_api::{ApiId, ApplicationId, Callback, PlanId, Subscription, SubscriptionId, from_value};

use super::*;
use crate::{
    Chains,
    tests::{caller, compiled, environment},
};

fn broker(kind: &str, settings: &Value) -> BrokerConfig {
    let broker: sluice_api::Broker =
        from_value(json!({ "name": "b", "type": kind, "configuration": settings })).unwrap();
    broker.configuration
}

fn of(kind: &str, settings: &Value) -> ChosenBy {
    ChosenBy::new(&broker(kind, settings), &environment()).unwrap()
}

fn kafka() -> ChosenBy {
    of("kafka", &json!({ "bootstrapServers": "k:9092", "topics": ["set"] }))
}

fn mqtt(consumer: &str, producer: &str) -> ChosenBy {
    let settings = json!({
        "serverHost": "h", "serverPort": 1883,
        "consumer": { "topic": consumer }, "producer": { "topic": producer },
    });
    of("mqtt5", &settings)
}

/// A client with these request headers, and with these attributes noted on it.
fn client(headers: &[(&'static str, &'static str)], noted: &[(&str, Value)]) -> Caller {
    let chains: Chains = compiled(json!({}));
    let mut caller = caller(&chains, "http-post", headers);
    noted.iter().for_each(|(name, value)| caller.attributes.set(*name, value.clone()));
    caller
}

fn message(content: &'static str, noted: &[(&str, Value)]) -> Message {
    let mut attributes = Attributes::default();
    noted.iter().for_each(|(name, value)| attributes.set(*name, value.clone()));
    Message::builder().payload(content).attributes(attributes).build()
}

fn names(topics: Result<Cow<'_, [Topic]>, Misled>) -> Result<Vec<String>, Misled> {
    topics.map(|topics| topics.iter().map(ToString::to_string).collect())
}

fn publish(client_noted: &[(&str, Value)], message_noted: &[(&str, Value)]) -> Result<Vec<String>, Misled> {
    names(kafka().publish(&[Topic::from("set")], &client(&[], client_noted), &message("", message_noted)))
}

fn deliver(by: &ChosenBy, header: &'static str) -> Result<Vec<String>, Misled> {
    names(by.deliver(&[], &client(&[("x", header)], &[])))
}

#[test]
fn a_choice_for_the_message_goes_before_one_for_the_client() {
    let both = "gravitee.attribute.kafka.topics";
    let newer = "gravitee.attributes.endpoint.kafka.producer.topics";
    assert_eq!(publish(&[], &[]).unwrap(), ["set"]);
    assert_eq!(publish(&[(both, json!("a, b"))], &[]).unwrap(), ["a", "b"]);
    assert_eq!(publish(&[(newer, json!(["a"]))], &[]).unwrap(), ["a"]);
    assert_eq!(publish(&[(both, json!("a"))], &[(both, json!("m"))]).unwrap(), ["m"]);
    assert_eq!(publish(&[(both, Value::Null)], &[]).unwrap(), ["set"]);
    assert_eq!(publish(&[("gravitee.attribute.mqtt5.topic", json!("x"))], &[]).unwrap(), ["set"]);
}

#[test]
fn a_choice_that_is_no_topic_is_refused() {
    for bad in [json!("a b"), json!(""), json!(7), json!([]), json!(vec!["a"; 65]), json!("../a")] {
        assert!(publish(&[("gravitee.attribute.kafka.topics", bad.clone())], &[]).is_err(), "{bad}");
    }
}

#[test]
fn of_the_shared_log_only_topics_that_the_settings_name_can_be_chosen() {
    let by = of(
        "log",
        &json!({ "topics": ["both"], "producer": { "topics": ["in"] }, "consumer": { "topics": ["out"] } }),
    );
    let set = [Topic::from("both")];
    let chosen = |topics: &str| {
        let client = client(&[], &[("gravitee.attribute.log.topics", json!(topics))]);
        let published = by.publish(&set, &client, &message("", &[])).map(|topics| topics.len());
        assert_eq!(by.deliver(&set, &client).map(|topics| topics.len()), published);
        published
    };
    assert_eq!(chosen("both, in,out"), Ok(3));
    assert_eq!(chosen("another-api"), Err(Misled::NotNamed));
    assert_eq!(chosen("both,another-api"), Err(Misled::NotNamed));
    assert_eq!(chosen("../both"), Err(Misled::Impossible));
}

#[test]
fn of_the_mock_its_one_topic_can_be_chosen_and_of_kafka_any() {
    let mock = of("mock", &json!({ "messageInterval": 1, "messageContent": "x" }));
    let deliver = |by: &ChosenBy, kind: &str, topic: &str| {
        let client = client(&[], &[(&format!("gravitee.attribute.{kind}.topics"), json!(topic))]);
        by.deliver(&[], &client).map(|topics| topics.len())
    };
    assert_eq!(deliver(&mock, "mock", "mock"), Ok(1));
    assert_eq!(deliver(&mock, "mock", "other"), Err(Misled::NotNamed));
    assert_eq!(deliver(&kafka(), "kafka", "other"), Ok(1));
    assert_eq!(deliver(&kafka(), "kafka", "^.*"), Err(Misled::NotNamed), "a pattern is the author's");
}

#[test]
fn a_policy_chooses_a_wildcard_only_where_the_settings_name_it() {
    let by = mqtt("sensors/+/temp", "out");
    let chosen = |topic: &str| {
        names(by.deliver(&[], &client(&[], &[("gravitee.attribute.mqtt5.topic", json!(topic))])))
    };
    assert_eq!(chosen("sensors/+/temp").unwrap(), ["sensors/+/temp"]);
    assert_eq!(chosen("a/b, c").unwrap(), ["a/b, c"], "one topic, whatever is in it");
    for wild in ["#", "sensors/#", "+", "$SYS/broker"] {
        assert_eq!(chosen(wild), Err(Misled::NotNamed), "{wild}");
    }
    let solace = of("solace", &json!({ "url": "tcp://h:1", "consumer": { "topics": ["queue://mine"] } }));
    let chosen = |topic: &str| {
        let noted = [("gravitee.attributes.endpoint.solace.consumer.topics", json!(topic))];
        names(solace.deliver(&[], &client(&[], &noted)))
    };
    assert!(chosen("topic://a/b").is_ok() && chosen("queue://mine").is_ok());
    assert_eq!(chosen("queue://another"), Err(Misled::NotNamed));
    assert_eq!(chosen("a/>"), Err(Misled::NotNamed));
}

#[test]
fn topics_are_made_of_a_client_and_its_message() {
    let by = of(
        "kafka",
        &json!({ "bootstrapServers": "k:9092", "producer": { "topics": [
            "all", "orders-{#request.headers['x'][0]}", "{#jsonPath(#message.content, '$.t')}", "{('all')}",
        ] }, "consumer": { "topics": ["orders-{#request.headers['x'][0]}"] } }),
    );
    let eu = client(&[("x", "eu")], &[]);
    let published = by.publish(&[], &eu, &message(r#"{"t":"made"}"#, &[]));
    assert_eq!(names(published).unwrap(), ["all", "orders-eu", "made"]);
    assert_eq!(deliver(&by, "eu").unwrap(), ["orders-eu"]);
    let noted = client(&[("x", "eu")], &[("gravitee.attribute.kafka.topics", json!("noted"))]);
    assert_eq!(names(by.deliver(&[], &noted)).unwrap(), ["noted"]);
    let no_value = |content| match by.publish(&[], &eu, &message(content, &[])) {
        Err(Misled::NoValue { of: "topic", .. }) => true,
        other => panic!("{other:?}"),
    };
    assert!(no_value("{}") && no_value("not JSON") && no_value(r#"{"t":""}"#));
    assert!(matches!(names(by.deliver(&[], &client(&[], &[]))), Err(Misled::NoValue { .. })));
}

#[test]
fn a_subscription_has_the_topic_of_its_metadata() {
    let by = of(
        "kafka",
        &json!({ "bootstrapServers": "k:9092", "consumer": { "topics": ["orders-{#subscription.metadata.region}"] } }),
    );
    let callback = json!({ "callbackUrl": "https://shop.example/hook" });
    let subscription = Subscription {
        id: SubscriptionId("s".to_owned()),
        api: ApiId("a".to_owned()),
        plan: PlanId("p".to_owned()),
        application: ApplicationId("app".to_owned()),
        application_name: "Shop".to_owned(),
        client_id: None,
        metadata: [("region".to_owned(), "eu".to_owned())].into(),
        channel: None,
        callback: from_value::<Callback>(callback).unwrap(),
        hub: None,
        starting_at: None,
        ending_at: None,
    };
    let caller = Caller::new(&compiled(json!({})), "webhook", "").with_subscription(Arc::new(subscription));
    assert_eq!(names(by.deliver(&[], &caller)).unwrap(), ["orders-eu"]);
}

#[test]
fn what_a_client_sends_brings_no_wildcard_and_no_level_into_a_topic() {
    let by = mqtt("tenants/{#request.headers['x'][0]}/+/out", "in");
    assert_eq!(deliver(&by, "a.b c").unwrap(), ["tenants/a.b c/+/out"], "the author's own wildcard stays");
    for bad in ["#", "+", "a/b", "../b", "a/#", "$share"] {
        assert_eq!(deliver(&by, bad), Err(Misled::Unfit), "{bad}");
    }
    let whole = mqtt("{#request.headers['x'][0]}", "in");
    assert_eq!(deliver(&whole, "a/b").unwrap(), ["a/b"], "the author leaves all of it to the client");
    assert!(["#", "a/+", "$SYS/x"].into_iter().all(|bad| deliver(&whole, bad) == Err(Misled::Unfit)));
}

#[test]
fn of_the_shared_log_an_expression_chooses_among_topics_that_are_named() {
    let by = of(
        "log",
        &json!({ "topics": ["orders-eu"], "consumer": { "topics": ["orders-{#request.headers['x'][0]}"] } }),
    );
    assert_eq!(deliver(&by, "eu").unwrap(), ["orders-eu"]);
    assert_eq!(deliver(&by, "us"), Err(Misled::Unfit));
}

#[test]
fn a_key_is_made_by_the_settings_unless_a_policy_has_chosen_one() {
    let with = |key: &str| of("log", &json!({ "topics": ["t"], "producer": { "key": key } }));
    let keyed = |by: &ChosenBy, client: &Caller, message: Message| {
        let message = by.with_key(client, message)?;
        Ok::<_, Misled>(message.key().map(|key| String::from_utf8_lossy(key).into_owned()))
    };
    let path = with("{#jsonPath(#message.content, '$.id')}");
    let (nobody, noted) =
        (client(&[], &[]), client(&[], &[("gravitee.attribute.log.recordKey", json!("n"))]));
    assert_eq!(keyed(&path, &nobody, message(r#"{"id":7}"#, &[])).unwrap().as_deref(), Some("7"));
    assert_eq!(keyed(&path, &noted, message(r#"{"id":7}"#, &[])).unwrap().as_deref(), Some("n"));
    let own = Message::builder().payload("{}").key("own").build();
    assert_eq!(keyed(&path, &nobody, own).unwrap().as_deref(), Some("own"));
    let error = keyed(&path, &nobody, message("not JSON", &[])).unwrap_err();
    assert_eq!(
        (error.code(), matches!(error, Misled::NoValue { of: "key", .. })),
        ("endpoint.expression.invalid", true)
    );
    let header = with("{#request.headers['x'][0]}-{#message.attributes['a']}");
    let keyed = keyed(&header, &client(&[("x", "h")], &[]), message("", &[("a", json!("b"))]));
    assert_eq!(keyed.unwrap().as_deref(), Some("h-b"));
}

/// The group of a client with this header `x` and this attribute, where the settings say this.
fn group(
    setting: Option<&str>,
    header: Option<&'static str>,
    noted: Option<Value>,
) -> Result<Option<String>, Misled> {
    let by = of("log", &json!({ "topics": ["t"], "consumer": { "groupId": setting } }));
    let headers: Vec<_> = header.map(|value| ("x", value)).into_iter().collect();
    let noted = noted.map(|value| ("gravitee.attribute.log.groupId", value));
    by.group(&client(&headers, noted.as_slice()))
}

#[test]
fn a_group_is_named_by_the_settings_or_before_them_by_a_policy() {
    let expression = Some("{#request.headers['x']?.[0]}");
    let named = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(group(None, None, None), Ok(None));
    assert_eq!(group(Some("workers"), None, None), named("workers"));
    assert_eq!(group(expression, Some("a.b-C_1"), None), named("a.b-C_1"));
    assert_eq!(group(Some("team-{#request.headers['x']?.[0]}"), Some("a"), None), named("team-a"));
    assert_eq!(group(Some("workers"), None, Some(json!("other"))), named("other"));
    assert_eq!(group(None, None, Some(json!("other"))), named("other"));
}

#[test]
fn without_a_name_a_client_is_in_no_group() {
    let expression = Some("{#request.headers['x']?.[0]}");
    assert_eq!(group(expression, None, None), Ok(None));
    assert_eq!(group(expression, Some(""), None), Ok(None));
    assert_eq!(group(Some("team-{#request.headers['x']?.[0]}"), None, None), Ok(None));
    assert_eq!(group(Some("workers"), None, Some(Value::Null)), Ok(None));
    assert_eq!(group(Some("workers"), None, Some(json!(""))), Ok(None));
    let without_result = group(Some("{#request.headers['x'][0]}"), None, None);
    assert!(matches!(without_result, Err(Misled::NoValue { of: "group", .. })), "{without_result:?}");
}

#[test]
fn a_group_that_is_no_name_is_refused() {
    let longest: &'static str = "x".repeat(128).leak();
    let too_long: &'static str = "x".repeat(129).leak();
    let expression = Some("{#request.headers['x'][0]}");
    assert_eq!(group(expression, Some(longest), None), Ok(Some(longest.to_owned())));
    for bad in [too_long, "a b", "a/b", "a~b", "#", "ä"] {
        assert_eq!(group(expression, Some(bad), None), Err(Misled::NoGroupName), "{bad}");
        assert_eq!(group(None, None, Some(json!(bad))), Err(Misled::NoGroupName), "{bad}");
    }
    for bad in [json!(7), json!(["a"]), json!(true)] {
        assert_eq!(group(None, None, Some(bad.clone())), Err(Misled::NoGroupName), "{bad}");
    }
}

#[test]
fn who_is_in_a_group_is_refused_where_receivers_serve_none() {
    let by = of("log", &json!({ "topics": ["t"], "consumer": { "groupId": "g" } }));
    let topics = [Topic::from("t")];
    assert_eq!(names(by.deliver(&topics, &client(&[], &[]))), Err(Misled::NotShared));
    assert_eq!(names(by.deliver_shared(&topics, &client(&[], &[]))), Ok(vec!["t".to_owned()]));
    let out = client(&[], &[("gravitee.attribute.log.groupId", Value::Null)]);
    assert_eq!(names(by.deliver(&topics, &out)), Ok(vec!["t".to_owned()]));
    assert!(!by.makes_groups());
    assert!(
        of("log", &json!({ "topics": ["t"], "consumer": { "groupId": "{#request.id}" } })).makes_groups()
    );
}

#[test]
fn where_a_message_is_to_be_answered_is_chosen_for_it_or_for_its_client() {
    let by = of("mqtt5", &json!({ "serverHost": "h", "serverPort": 1, "topic": "t" }));
    let name = "gravitee.attribute.mqtt5.responseTopic";
    let told = |message: &Message| {
        let told = message.metadata().filter(|(name, _)| *name == "responseTopic");
        told.last().map(|(_, topic)| topic.into_owned())
    };
    let caller = client(&[], &[(name, json!("answers/1"))]);
    let plain = Message::builder().build();
    assert_eq!(told(&by.with_response_topic(&client(&[], &[]), plain.clone())), None);
    assert_eq!(told(&by.with_response_topic(&caller, plain)).as_deref(), Some("answers/1"));
    let mut attributes = Attributes::default();
    attributes.set(name, json!("answers/2"));
    let noted = Message::builder().metadata("responseTopic", "before").attributes(attributes).build();
    assert_eq!(told(&by.with_response_topic(&caller, noted)).as_deref(), Some("answers/2"));
}
