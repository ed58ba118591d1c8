//! How a request is read: its form, its parameters, its statuses.

use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::{
    bench::{BASE, Bench},
    callback::Callback,
};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn parameters_stand_in_the_form_or_in_the_query_or_in_both() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in");
    let (mode, rest) = ("hub.mode=subscribe", format!("hub.topic=paid&hub.callback={url}"));
    let post = |query: String, kind: Option<&str>, body: String| {
        let mut request = Request::post(format!("/shop/hub?{query}"));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        bench.send(request.body(Full::from(body)).unwrap())
    };
    post(String::new(), Some(FORM), format!("{mode}&{rest}")).await.accepted();
    post(format!("{mode}&{rest}"), None, String::new()).await.accepted();
    post(format!("{mode}&{rest}"), Some("application/json"), String::new()).await.accepted();
    let kind = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
    post(mode.to_owned(), Some(kind), format!("{rest}&hub.extension=1")).await.accepted();
    post(mode.to_owned(), Some(FORM), format!("{mode}&{rest}")).await.refused(400, "hub.parameter.repeated");
    post(format!("{mode}&{rest}"), Some("application/json"), "{}".to_owned())
        .await
        .refused(415, "hub.content-type");
    post(String::new(), None, format!("{mode}&{rest}")).await.refused(415, "hub.content-type");
    post(String::new(), Some("text/plain"), "x".to_owned()).await.refused(415, "hub.content-type");
}

#[tokio::test]
async fn a_repeated_parameter_is_refused_by_its_name() {
    let bench = Bench::new().await;
    let twice = bench.form("hub.mode=subscribe&hub.topic=paid&hub.callback=a&hub.callback=b").await;
    twice.refused(400, "hub.parameter.repeated");
    assert!(twice.message.starts_with("hub.callback "), "{twice:?}");
}

#[tokio::test]
async fn a_missing_parameter_is_400_and_named() {
    let bench = Bench::new().await;
    for (form, name) in [
        ("", "hub.mode"),
        ("hub.topic=paid&hub.callback=http://8.8.8.8", "hub.mode"),
        ("hub.mode=subscribe&hub.callback=http://8.8.8.8", "hub.topic"),
        ("hub.mode=subscribe&hub.topic=paid", "hub.callback"),
        ("hub.mode=subscribe&hub.topic=paid&hub.callback=", "hub.callback"),
        ("hub.mode=unsubscribe&hub.topic=paid", "hub.callback"),
        ("hub.mode=publish", "hub.topic"),
    ] {
        let answer = bench.form(form).await;
        answer.refused(400, "hub.parameter.missing");
        assert_eq!(answer.message, format!("{name} is missing."), "{form}");
    }
    for mode in ["denied", "Subscribe", "list"] {
        bench.form(&format!("hub.mode={mode}&hub.topic=paid")).await.refused(400, "hub.parameter.invalid");
    }
}

#[tokio::test]
async fn an_unknown_topic_is_404_for_every_mode() {
    let bench = Bench::new().await;
    for mode in ["subscribe", "unsubscribe", "publish"] {
        for topic in
            ["other", "Paid", "https://hub.example/shop/other", "https://elsewhere.example/shop/paid"]
        {
            let asked = [("hub.mode", mode), ("hub.topic", topic), ("hub.callback", "http://8.8.8.8/")];
            bench.ask(&asked).await.refused(404, "hub.topic.unknown");
        }
    }
}

#[tokio::test]
async fn a_topic_is_named_by_its_channel_or_by_its_public_url() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    for topic in ["orders/new".to_owned(), format!("{BASE}/orders/new"), format!("{BASE}/orders%2Fnew")] {
        let url = callback.url("/in");
        let asked = [("hub.mode", "subscribe"), ("hub.topic", &*topic), ("hub.callback", &*url)];
        bench.ask(&asked).await.accepted();
        assert_eq!(callback.call().await.says("hub.topic"), topic, "told exactly as it was written");
    }
    let papers = bench.desk.settled(3).await;
    assert_eq!(papers.subscriptions.len(), 1, "all of them are the same topic");
    let agreed = papers.subscriptions.values().next().unwrap();
    assert_eq!(
        (&*agreed.terms.hub_url, &*agreed.terms.self_url),
        ("https://hub.example/shop/hub", "https://hub.example/shop/orders/new")
    );
}

#[tokio::test]
async fn a_topic_url_may_name_the_host_by_which_the_request_came() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let form = format!(
        "hub.mode=subscribe&hub.topic=http://inside:8082/shop/paid&hub.callback={}",
        callback.url("/")
    );
    let post = |host: &str| {
        let request = Request::post("/shop/hub").header("content-type", FORM).header("host", host);
        bench.send(request.body(Full::from(form.clone())).unwrap())
    };
    post("inside:8082").await.accepted();
    post("inside").await.refused(404, "hub.topic.unknown");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let bench = Bench::with(&json!({}), &json!({ "limits": { "maxBodyBytes": 100 } })).await;
    bench.form(&"x".repeat(101)).await.refused(413, "request.body.too-large");
    bench.form(&"x".repeat(100)).await.refused(400, "hub.parameter.missing");
    let bench = Bench::new().await;
    bench.form(&"x".repeat((64 << 10) + 1)).await.refused(413, "request.body.too-large");
    bench.form(&"x".repeat(64 << 10)).await.refused(400, "hub.parameter.missing");
}

#[tokio::test]
async fn a_callback_that_may_not_be_called_is_400() {
    let bench = Bench::new().await;
    let long = format!("http://8.8.8.8/{}", "x".repeat(10 << 10));
    for callback in [
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//8.8.8.8/in",
        "http://",
        "http://user:pw123@8.8.8.8/",
        "http://user@8.8.8.8/",
        "http://8.8.8.8/in#part",
        "http://8.8.8.8/#",
        "http://8.8.8.8/\r\nX: y",
        &long,
    ] {
        let answer = bench.subscribe(callback).await;
        answer.refused(400, "hub.callback.invalid");
        assert!(
            answer.message.starts_with("hub.callback: ") && !answer.message.contains("pw123"),
            "{answer:?}"
        );
    }
    for callback in
        ["http://10.0.0.1/", "http://169.254.169.254/latest", "http://[fd00::1]/", "http://x.internal/"]
    {
        bench.subscribe(callback).await.refused(400, "hub.callback.refused");
    }
    let most = format!("http://127.0.0.1:9/{}", "x".repeat(2048 - 19));
    bench.subscribe(&most).await.accepted();
    bench.subscribe(&format!("{most}x")).await.refused(400, "hub.callback.invalid");
}

#[tokio::test]
async fn a_secret_is_shorter_than_200_bytes() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in");
    let with = |secret: String| {
        let (bench, url) = (&bench, &url);
        async move {
            let asked = [("hub.mode", "subscribe"), ("hub.topic", "paid"), ("hub.callback", url)];
            bench.ask(&[&asked[..], &[("hub.secret", &*secret)]].concat()).await
        }
    };
    with("s".repeat(200)).await.refused(400, "hub.parameter.invalid");
    with("s".repeat(199)).await.accepted();
    let papers = bench.desk.settled(1).await;
    let terms = &papers.subscriptions.values().next().unwrap().terms;
    assert_eq!(terms.secret.as_ref().unwrap().expose(), "s".repeat(199));
}

#[tokio::test]
async fn a_lease_that_is_no_number_from_one_is_400() {
    let bench = Bench::new().await;
    for lease in ["0", "-1", "soon", "1.5", "+3"] {
        let asked =
            [("hub.mode", "subscribe"), ("hub.topic", "paid"), ("hub.callback", "http://127.0.0.1:9/")];
        bench
            .ask(&[&asked[..], &[("hub.lease_seconds", lease)]].concat())
            .await
            .refused(400, "hub.parameter.invalid");
    }
    assert!(bench.desk.papers().requests.is_empty());
}
