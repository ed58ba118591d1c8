//! Groups: clients that share messages, on each broker.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::harness::{
    Gateway, Socket, Sse, Starting, artemis_broker, kafka_broker, kafka_topic, log_broker, mqtt_broker,
    rabbitmq_broker, unique, until, within,
};

/// Each fact for each broker.
macro_rules! on_every_broker {
    ($($fact:ident),+ $(,)?) => {
        mod log {
            $(#[tokio::test] async fn $fact() { super::$fact(super::log_broker("t")).await; })+
        }
        mod kafka {
            $(#[tokio::test] async fn $fact() {
                let topic = super::kafka_topic(stringify!($fact), 2).await;
                super::$fact(super::kafka_broker(&topic)).await;
            })+
        }
        mod mqtt {
            $(#[tokio::test] async fn $fact() {
                super::$fact(super::mqtt_broker(&super::unique(stringify!($fact)))).await;
            })+
        }
        mod rabbitmq {
            $(#[tokio::test] async fn $fact() {
                super::$fact(super::rabbitmq_broker(&super::unique(stringify!($fact)))).await;
            })+
        }
        mod artemis {
            $(#[tokio::test] async fn $fact() {
                super::$fact(super::artemis_broker(&super::unique(stringify!($fact)))).await;
            })+
        }
    };
}

on_every_broker!(
    members_get_each_message_once_between_them_and_other_clients_all,
    nothing_of_a_group_is_lost_although_the_gateway_is_killed,
    two_apis_with_the_same_group_do_not_share,
);

const GROUP: (&str, &str) = ("x-group", "workers");

/// An API by which clients name their group in a header. Ids are unique, since groups outlive a gateway at some brokers.
fn api(name: &str, mut broker: Value) -> Value {
    broker["configuration"]["consumer"]["groupId"] = "{#request.headers['x-group']?.[0]}".into();
    json!({
        "id": unique(name),
        "name": name,
        "paths": [{ "path": format!("/{name}") }],
        "receivers": [
            { "type": "http-post" },
            { "type": "sse" },
            { "type": "websocket", "configuration": { "frames": "text" } },
        ],
        "brokers": [broker],
        "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
    })
}

/// A member by SSE. A broker may take a while to give a group its place.
async fn member(gateway: &Gateway, path: &str) -> Sse {
    within("a place in the group", async {
        loop {
            // Whoever is let in is handed messages at once, so nobody asks and comes again.
            let answer = Sse::asked(gateway, path, GROUP).await;
            if answer.status() != 503 {
                return Sse::agreed(answer).await;
            }
        }
    })
    .await
}

async fn publish(gateway: &Gateway, path: &str, numbers: std::ops::Range<usize>) -> HashSet<String> {
    let messages: HashSet<String> = numbers.map(|number| format!("m{number}")).collect();
    for message in &messages {
        gateway.publish(path, message).await;
    }
    messages
}

async fn members_get_each_message_once_between_them_and_other_clients_all(broker: Value) {
    let gateway = Starting::run().api(&api("shared", broker)).start().await;
    let mut one = member(&gateway, "/shared").await;
    let mut other = Socket::asked(&gateway, "/shared", &[GROUP]).await.unwrap();
    let mut alone = Sse::open(&gateway, "/shared").await;
    let sent = publish(&gateway, "/shared", 0..40).await;
    let (mut by_one, mut by_other) = (Vec::new(), Vec::new());
    while by_one.len() + by_other.len() < 40 {
        tokio::select! {
            message = one.message() => by_one.push(message),
            message = other.text() => by_other.push(message),
        }
    }
    assert!(by_one.len() > 1 && by_other.len() > 1, "{} and {}", by_one.len(), by_other.len());
    let all: HashSet<_> = by_one.into_iter().chain(by_other).collect();
    assert_eq!(all, sent, "each once");
    assert_eq!(alone.messages(40).await.into_iter().collect::<HashSet<_>>(), sent);
    let consumers =
        [gateway.metric("sluice_group_consumers").await, gateway.metric("sluice_hub_consumers").await];
    assert_eq!(consumers, [1.0, 1.0]);
}

async fn nothing_of_a_group_is_lost_although_the_gateway_is_killed(broker: Value) {
    let api = api("killed", broker);
    let gateway = Starting::run().api(&api).start().await;
    let mut before = member(&gateway, "/killed").await;
    let mut sent = publish(&gateway, "/killed", 0..30).await;
    let mut seen: HashSet<_> = before.messages(10).await.into_iter().collect();
    let gateway = gateway.kill().start().await;
    // What was on its way to the client when the gateway was killed.
    while let Some(event) = before.event().await {
        seen.extend(event.data);
    }
    // Nobody is there for these.
    sent.extend(publish(&gateway, "/killed", 30..40).await);
    let mut after = member(&gateway, "/killed").await;
    sent.extend(publish(&gateway, "/killed", 40..50).await);
    while seen.len() < sent.len() {
        seen.insert(after.message().await);
    }
    assert_eq!(seen, sent);
}

async fn two_apis_with_the_same_group_do_not_share(broker: Value) {
    let gateway = Starting::run().api(&api("one", broker.clone())).api(&api("two", broker)).start().await;
    let (mut one, mut two) = (member(&gateway, "/one").await, member(&gateway, "/two").await);
    let sent = publish(&gateway, "/one", 0..20).await;
    for stream in [&mut one, &mut two] {
        assert_eq!(stream.messages(20).await.into_iter().collect::<HashSet<_>>(), sent);
    }
}

#[tokio::test]
async fn two_gateways_share_a_group_at_the_broker() {
    let api = api("wide", kafka_broker(&kafka_topic("wide", 4).await));
    let (here, there) = (Starting::run().api(&api).start().await, Starting::run().api(&api).start().await);
    let (mut one, mut other) = (member(&here, "/wide").await, member(&there, "/wide").await);
    let mut seen = HashSet::new();
    let (mut by_one, mut by_other) = (0, 0);
    let mut round = 0;
    // Until both have a share of the partitions.
    while by_one == 0 || by_other == 0 {
        let sent = publish(&here, "/wide", round * 20..(round + 1) * 20).await;
        round += 1;
        while !seen.is_superset(&sent) {
            tokio::select! {
                message = one.message() => { by_one += 1; seen.insert(message); }
                message = other.message() => { by_other += 1; seen.insert(message); }
            }
        }
    }
}

#[tokio::test]
async fn a_member_that_takes_nothing_is_cut_and_others_go_on() {
    const LARGE: usize = 1 << 19;
    let mut broker = log_broker("t");
    // All messages have one key, so that while one member has some of them nobody else gets any.
    broker["configuration"]["producer"]["key"] = "{#request.headers['x-key']?.[0] ?: 'same'}".into();
    let definition = api("stuck", broker);
    let gateway = Starting::run().config("limits: { writeTimeoutMs: 2000 }").api(&definition).start().await;
    let address = gateway.url("").replace("http://", "");
    let mut stuck = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "GET /stuck HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{}: {}\r\n\r\n",
        GROUP.0, GROUP.1
    );
    stuck.write_all(request.as_bytes()).await.unwrap();
    let path = format!("/apis/{}/streams", definition["id"].as_str().unwrap());
    let streams = async || gateway.shown(&path).await;
    until("the stuck member to be there", || async { streams().await["data"][0]["group"] == GROUP.1 }).await;
    for number in 0..20 {
        gateway.publish("/stuck", &format!("{number}{}", " ".repeat(LARGE))).await;
    }
    let mut other = member(&gateway, "/stuck").await;
    gateway.publish("/stuck", "last").await;
    while other.message().await != "last" {}
    until("the stuck member to be cut", || async {
        let shown = streams().await;
        shown["summary"]["open"] == 1
    })
    .await;
}

#[tokio::test]
async fn members_go_on_when_their_api_is_deployed_anew() {
    let mut definition = api("moved", log_broker("t"));
    let gateway = Starting::run().api(&definition).start().await;
    let mut one = member(&gateway, "/moved").await;
    gateway.publish("/moved", "before").await;
    assert_eq!(one.message().await, "before");
    definition["paths"] = json!([{ "path": "/anew" }]);
    std::fs::write(gateway.dir().join("apis/moved.json"), definition.to_string()).unwrap();
    until("the changed path", || async { gateway.post("/anew", "after").await.status() == 202 }).await;
    assert_eq!(one.message().await, "after");
}

#[tokio::test]
async fn what_cannot_be_a_group_is_refused() {
    let mut by_policy = api("policy", log_broker("t"));
    by_policy["brokers"] = json!([log_broker("t")]);
    by_policy["receivers"] = json!([
        { "type": "http-post" },
        { "type": "sse", "qos": "at-least-once" },
        { "type": "http-get" },
        { "type": "websocket" },
    ]);
    by_policy["flows"] = json!([{ "connect": [{ "policy": "policy-assign-attributes", "configuration": { "attributes": [
        { "name": "gravitee.attribute.log.groupId", "value": "{#request.headers['x-group']?.[0]}" },
    ] } }] }]);
    let gateway = Starting::run().api(&api("named", log_broker("t"))).api(&by_policy).start().await;
    let told = async |path: &str, group: &str, accept: &str| {
        let request =
            gateway.client().get(gateway.url(path)).header("accept", accept).header("x-group", group);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    let streams = "text/event-stream, application/json";
    assert_eq!(told("/named", "a b", streams).await, (400, "group.invalid".to_owned()));
    assert_eq!(told("/policy", "g", streams).await, (400, "qos.incompatible".to_owned()));
    assert_eq!(told("/policy", "g", "application/json").await, (400, "qos.incompatible".to_owned()));
    assert!(Socket::asked(&gateway, "/policy", &[GROUP]).await.is_ok());
    Sse::open(&gateway, "/policy").await;
}

#[tokio::test]
async fn the_example_shares_jobs() {
    let gateway = Starting::run()
        .file("apis/jobs.yaml", include_str!("../../../../examples/shared-work.yaml"))
        .argument("--api")
        .argument("{dir}/apis")
        .start()
        .await;
    let mut worker = member(&gateway, "/jobs").await;
    let mut all = Sse::open(&gateway, "/jobs").await;
    for job in 0..3 {
        let job = format!(r#"{{"customer":"c1","job":{job}}}"#);
        gateway.publish("/jobs", &job).await;
        assert_eq!((worker.message().await, all.message().await), (job.clone(), job));
    }
}
