//! What a hub and a webhook receiver answer to requests that are wrong, or meant ill: each has its status, nothing comes
//! of it, and nobody else is harmed.

use http::StatusCode;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{
    Answer, CALLS_HERE, Gateway, Starting, Subscriber, hub_api, policies, succeeded, until, webbroker_api,
    websub_api,
};

/// A gateway with a hub for the channel `c` at `/open`.
async fn with_hub() -> Gateway {
    with_settings(json!({})).await
}

async fn with_settings(settings: Value) -> Gateway {
    let mut api = hub_api("Open", "/open", &json!({ "type": "log" }), &["c"]);
    let configuration = api["receivers"][0]["configuration"].as_object_mut().unwrap();
    configuration.extend(settings.as_object().unwrap().clone());
    api["limits"] = json!({ "maxBodyBytes": 100_000 });
    Starting::run().config(CALLS_HERE).api(&api).start().await
}

/// The status, and the code of the error as `/open/hub` tells it.
async fn told(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status} {error}: {text}"));
    (status, told["code"].as_str().unwrap().to_owned())
}

async fn asked(gateway: &Gateway, form: &[(&str, &str)]) -> (u16, String) {
    let request = gateway.client().post(gateway.url("/open/hub")).header("Accept", "application/json");
    told(request.form(form).send().await.unwrap()).await
}

/// A request to subscribe with these parameters in place of sound ones; nothing in place of one leaves it out.
async fn with(gateway: &Gateway, changed: &[(&'static str, Option<&str>)]) -> (u16, String) {
    let sound = [("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", "http://127.0.0.1:1/")];
    let kept = sound.into_iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let changed = changed.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
    let form: Vec<_> = kept.chain(changed).collect();
    asked(gateway, &form).await
}

fn is(expected: (u16, &str), answer: &(u16, String), about: &str) {
    assert_eq!((answer.0, &*answer.1), expected, "{about}");
}

/// Nothing was made of what was refused.
async fn nothing_came_of_it(gateway: &Gateway) {
    assert_eq!(gateway.metric("sluice_websub_unsettled_requests").await, 0.0);
    let page = gateway.shown("/apis/open/subscriptions").await;
    assert_eq!(page["data"], json!([]));
}

#[tokio::test]
async fn parameters_that_are_missing_are_400_and_an_unknown_topic_is_404() {
    let gateway = with_hub().await;
    for name in ["hub.mode", "hub.topic", "hub.callback"] {
        is((400, "hub.parameter.missing"), &with(&gateway, &[(name, None)]).await, name);
        is((400, "hub.parameter.missing"), &with(&gateway, &[(name, Some(""))]).await, name);
    }
    is((400, "hub.parameter.invalid"), &with(&gateway, &[("hub.mode", Some("SUBSCRIBE"))]).await, "mode");
    for topic in
        ["other", "C", "http://elsewhere.example/open/c", &gateway.url("/other/c"), &gateway.url("/open")]
    {
        is((404, "hub.topic.unknown"), &with(&gateway, &[("hub.topic", Some(topic))]).await, topic);
    }
    is(
        (404, "hub.subscription.unknown"),
        &with(&gateway, &[("hub.mode", Some("unsubscribe"))]).await,
        "unsubscribe",
    );
    for target in ["?topic=other", "?topic=C"] {
        let url = gateway.url(&format!("/open/webhook-receiver{target}"));
        assert_eq!(gateway.client().post(url).body("x").send().await.unwrap().status(), 404, "{target}");
    }
    for target in ["", "?topic="] {
        let url = gateway.url(&format!("/open/webhook-receiver{target}"));
        assert_eq!(gateway.client().post(url).body("x").send().await.unwrap().status(), 400, "{target}");
    }
    nothing_came_of_it(&gateway).await;
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_is_right() {
    let gateway = with_hub().await;
    for path in ["/open/hub", "/open/webhook-receiver?topic=c"] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = gateway.client().request(method.clone(), gateway.url(path)).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert!(answer.headers()["allow"].to_str().unwrap().contains("POST"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken_and_one_over_it_is_413_at_the_hub_and_the_webhook_receiver() {
    let gateway = with_hub().await;
    let publish = gateway.url("/open/hub?hub.mode=publish&hub.topic=c");
    let receiver = gateway.url("/open/webhook-receiver?topic=c");
    for url in [&publish, &receiver] {
        for (size, status) in [(100_000, 202), (100_001, 413)] {
            let post = gateway.client().post(url).header("Content-Type", "text/plain");
            assert_eq!(post.body("x".repeat(size)).send().await.unwrap().status(), status, "{size} to {url}");
        }
    }
    let form = format!("hub.mode=subscribe&x={}", "x".repeat(70_000));
    let post = gateway.client().post(gateway.url("/open/hub")).body(form);
    let answer = post.header("Content-Type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!(answer.status(), 413, "no form is so long");
}

#[tokio::test]
async fn a_context_is_taken_once_whatever_the_kind() {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    gateway.make(&websub_api("orders", "/orders", &json!({ "c": {} }))).await;
    gateway.make(&webbroker_api("ticks", "/ticks", &json!({ "c": {} }))).await;
    let taken = [
        websub_api("other", "/orders", &json!({ "c": {} })),
        websub_api("other", "/orders/v1.0", &json!({ "c": {} })),
        websub_api("orders", "/other", &json!({ "c": {} })),
        webbroker_api("other", "/orders/v1.0", &json!({ "c": {} })),
        webbroker_api("other", "/ticks", &json!({ "c": {} })),
        webbroker_api("orders", "/other", &json!({ "c": {} })),
    ];
    for resource in taken {
        let kind = if resource["kind"] == "WebSubApi" { "websub-apis" } else { "webbroker-apis" };
        let answer =
            gateway.resource(Method::POST, &format!("/{kind}")).json(&resource).send().await.unwrap();
        let status = answer.status();
        let told: Value = answer.json().await.unwrap();
        assert_eq!((status.as_u16(), &told["status"]), (409, &json!("error")), "{resource} {told}");
    }
    for kind in ["websub-apis", "webbroker-apis"] {
        let list = gateway.resource(Method::GET, &format!("/{kind}")).send().await.unwrap();
        assert_eq!(succeeded(list, 200).await["count"], 1);
    }
}

#[tokio::test]
async fn shapes_that_nobody_honours_any_more_are_refused_with_their_path() {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    let auth = json!([{ "name": "api-key-auth", "version": "v1" }]);
    let changes: [(&str, Value, &str); 8] = [
        ("/spec/policies", auth.clone(), "spec.policies"),
        ("/spec/channels/c/policies", json!({ "on_subscription": auth }), "spec.channels.c.policies"),
        ("/spec/channels/c/on_subscription", auth.clone(), "spec.channels.c.on_subscription"),
        ("/spec/hub", json!({}), "spec.hub"),
        ("/spec/allChannelPolicies", json!({}), "spec.allChannelPolicies"),
        ("/spec/channels", json!([{ "name": "c", "method": "SUB" }]), "spec.channels"),
        ("/apiVersion", json!("wso2.com/v1"), "apiVersion"),
        ("/spec/allChannels", json!({ "on_subscription": policies("nowhere", &json!({})) }), "nowhere"),
    ];
    for (pointer, value, path) in changes {
        let mut resource = websub_api("orders", "/orders", &json!({ "c": {} }));
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        resource.pointer_mut(parent).unwrap()[name] = value;
        let answer = gateway.resource(Method::POST, "/websub-apis").json(&resource).send().await.unwrap();
        let told = succeeded(answer, 400).await;
        assert!(told["errors"].to_string().contains(path), "{path} is not in {told}");
    }
    let list = gateway.resource(Method::GET, "/websub-apis").send().await.unwrap();
    assert_eq!(succeeded(list, 200).await["count"], 0);
}

#[tokio::test]
async fn a_bare_get_on_a_websocket_path_is_426() {
    let gateway = Starting::run().start().await;
    let mut resource = webbroker_api("ticks", "/ticks", &json!({ "prices": {} }));
    resource["spec"]["receiver"] = json!({ "name": "ws", "type": "websocket" });
    gateway.make(&resource).await;
    for path in ["/ticks/prices", "/ticks"] {
        let request = gateway.client().get(gateway.url(path)).header("X-channel", "prices");
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["upgrade"]),
            (426, &"websocket".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn callbacks_of_other_schemes_with_credentials_or_of_10_kilobytes_are_400() {
    let gateway = with_hub().await;
    let long = format!("http://127.0.0.1/{}", "x".repeat(10 << 10));
    for callback in [
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://127.0.0.1/",
        "//127.0.0.1/",
        "/",
        "127.0.0.1",
        "http://",
        "http://user:password@127.0.0.1/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1/#a",
        "http://127.0.0.1/\r\nX: y",
        "http://a b/",
        &long,
    ] {
        let answer = with(&gateway, &[("hub.callback", Some(callback))]).await;
        is((400, "hub.callback.invalid"), &answer, callback);
    }
    nothing_came_of_it(&gateway).await;
}

#[tokio::test]
async fn callbacks_into_networks_that_are_not_public_are_400_however_they_are_written() {
    let api = hub_api("Open", "/open", &json!({ "type": "log" }), &["c"]);
    let gateway = Starting::run().api(&api).start().await;
    for host in [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[fc00::1]",
        "[fe80::1]",
        "①②⑦.⓪.⓪.①",
        "%31%32%37.0.0.1",
    ] {
        let callback = format!("http://{host}/");
        let answer = with(&gateway, &[("hub.callback", Some(&callback))]).await;
        assert_eq!(answer.0, 400, "{host} {answer:?}");
        assert!(answer.1.starts_with("hub.callback."), "{host} {answer:?}");
    }
    nothing_came_of_it(&gateway).await;
}

#[tokio::test]
async fn a_lease_that_is_no_number_of_seconds_is_400() {
    let gateway = with_hub().await;
    for lease in ["-1", "0", "ten", "1.5", "+5", "1e3", "0x10", " 5", "\u{0664}"] {
        let answer = with(&gateway, &[("hub.lease_seconds", Some(lease))]).await;
        is((400, "hub.parameter.invalid"), &answer, lease);
    }
    nothing_came_of_it(&gateway).await;
}

#[tokio::test]
async fn a_secret_of_200_bytes_is_400_and_one_of_199_is_taken() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    let long = "s".repeat(200);
    is((400, "hub.parameter.invalid"), &with(&gateway, &[("hub.secret", Some(&long))]).await, "200 bytes");
    nothing_came_of_it(&gateway).await;
    subscriber.subscribe(&gateway, "/open", "c", &[("hub.secret", &long[1..])]).await;
    gateway.pushed("/open", "c", "x").await;
    assert!(subscriber.delivery().await.header("x-hub-signature").is_some());
}

#[tokio::test]
async fn forms_with_repeated_fields_are_400_and_other_content_types_are_415() {
    let gateway = with_hub().await;
    for name in ["hub.topic", "hub.callback", "hub.mode", "hub.secret"] {
        let mut form =
            vec![("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", "http://127.0.0.1:1/")];
        form.extend([(name, "a"), (name, "b")]);
        is((400, "hub.parameter.repeated"), &asked(&gateway, &form).await, name);
    }
    let body = "hub.mode=subscribe&hub.topic=c&hub.callback=http%3A%2F%2F127.0.0.1%3A1%2F";
    for content_type in ["application/json", "multipart/form-data; boundary=x", "text/plain"] {
        let post = gateway.client().post(gateway.url("/open/hub")).header("Accept", "application/json");
        let answer = post.header("Content-Type", content_type).body(body).send().await.unwrap();
        is((415, "hub.content-type"), &told(answer).await, content_type);
    }
    nothing_came_of_it(&gateway).await;
}

#[tokio::test]
async fn parameters_may_stand_in_the_query_as_existing_clients_write_them() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    let callback = subscriber.url("/");
    let query = format!("/open/hub?hub.mode=subscribe&hub.topic=c&hub.callback={callback}");
    assert_eq!(gateway.client().post(gateway.url(&query)).send().await.unwrap().status(), 202);
    assert_eq!(subscriber.question().await.parameter("hub.topic"), Some("c"));
}

async fn is_not_confirmed_by(answer: Answer) {
    let gateway = with_settings(json!({ "verificationTimeoutMs": 100 })).await;
    let mut subscriber = Subscriber::start().await;
    subscriber.answer(answer);
    let callback = subscriber.url("/");
    gateway
        .ask_hub("/open", &[("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &callback)])
        .await;
    subscriber.question().await;
    gateway.has_given_up(1.0).await;
    gateway.pushed("/open", "c", "x").await;
    let page = gateway.shown("/apis/open/subscriptions").await;
    assert_eq!((&page["data"], subscriber.unread()), (&json!([]), Vec::new()));
}

#[tokio::test]
async fn an_answer_that_echoes_something_else_confirms_nothing() {
    is_not_confirmed_by(Answer::Other(StatusCode::OK, Vec::new(), b"something else".to_vec())).await;
}

#[tokio::test]
async fn an_empty_answer_confirms_nothing() {
    is_not_confirmed_by(Answer::Other(StatusCode::OK, Vec::new(), Vec::new())).await;
}

#[tokio::test]
async fn an_answer_of_ten_megabytes_confirms_nothing_and_is_not_read_to_its_end() {
    is_not_confirmed_by(Answer::Other(StatusCode::OK, Vec::new(), vec![b'x'; 10 << 20])).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_confirms_nothing() {
    is_not_confirmed_by(Answer::Never).await;
}

#[tokio::test]
async fn a_redirected_question_confirms_nothing_and_goes_nowhere_else() {
    let mut elsewhere = Subscriber::start().await;
    let location = ("location", elsewhere.url("/elsewhere"));
    is_not_confirmed_by(Answer::Other(StatusCode::FOUND, vec![location], Vec::new())).await;
    assert!(elsewhere.has_heard_nothing());
}

#[tokio::test]
async fn a_flood_of_requests_for_one_victims_callback_is_429_and_the_hosts_of_others_are_not_concerned() {
    let gateway = with_settings(json!({ "requestsPerHost": 5 })).await;
    let mut victim = Subscriber::start().await;
    victim.answer(Answer::Other(StatusCode::NOT_FOUND, Vec::new(), Vec::new()));
    let mut statuses = Vec::new();
    for number in 0..20 {
        let callback = victim.url(&format!("/{number}"));
        let form = [("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &*callback)];
        let answer = gateway.hub("/open", &form).await;
        assert_eq!(answer.status() == 429, answer.headers().contains_key("retry-after"));
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [[202; 5].as_slice(), &[429; 15]].concat());
    gateway.has_given_up(5.0).await;
    for _ in 0..5 {
        victim.question().await;
    }
    assert!(victim.has_heard_nothing(), "it was not asked more often than was answered 202");
    let other = Subscriber::start().await.url("/").replace("127.0.0.1", "127.0.0.2");
    let form = [("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &*other)];
    assert_eq!(gateway.hub("/open", &form).await.status(), 202);
}

#[tokio::test]
async fn a_secret_of_a_subscriber_stands_in_no_log_no_listing_and_no_file() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    let callback = subscriber.url("/?token=key-in-the-query");
    let secret = ("hub.secret", "the-secret-of-a-subscriber");
    let form = [("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &*callback), secret];
    gateway.ask_hub("/open", &form).await;
    subscriber.question().await;
    gateway.has_verified(1.0).await;
    subscriber.take(Some(500));
    gateway.pushed("/open", "c", "x").await;
    let failed = || async {
        let page = gateway.shown("/apis/open/subscriptions").await;
        assert!(!page.to_string().contains("the-secret") && !page.to_string().contains("key-in"), "{page}");
        page["data"][0]["delivery"]["lastFailure"]["status"] == 500
    };
    until("a failure to show", failed).await;
    let log = gateway.log();
    assert!(!log.contains("the-secret") && !log.contains("key-in"), "{log}");
    assert!(!gateway.keeps_in_the_clear("the-secret"));
}
