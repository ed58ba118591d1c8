//! Everything that takes part in a run, started one after the other.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use reqwest::Client;
use tokio::{fs, task::JoinSet};

use crate::{
    Brokers, Fault, Options,
    apis::{Apis, Broker, Subscription, TOPICS},
    consumer::{self, TELLS_PLACES, Way},
    gateway::{Gateway, Setup},
    journal::Journal,
    kafka::Kafka,
    ledger::{Channel, Excuses},
    observer::Observer,
    proxy::Proxy,
    publisher::{self, Desk},
    subscriber::Subscriber,
    suite::{Recoveries, Suite},
};

/// Of each API.
const PUBLISHERS: usize = 4;
/// Between two messages of one publisher.
const INTERVAL: Duration = Duration::from_millis(30);
/// How long a publisher waits for an answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Orders of the subscriptions of each API, and what their subscribers are called in the report.
const ORDERS: [(&str, &str); 2] = [("all", "webhook, order all"), ("key", "webhook, order key")];

/// What all consumers need to be made.
struct Records<'a> {
    journal: &'a Arc<Journal>,
    logs: &'a Path,
}

impl Records<'_> {
    fn observer(&self, channel: &Arc<Channel>, name: &'static str) -> Result<Arc<Observer>, String> {
        Observer::new(channel, name, self.journal, self.logs)
    }
}

/// Starts brokers, gateway, subscribers, consumers and publishers.
pub(crate) async fn start(options: &Options) -> Result<Suite, String> {
    let failed = |error| format!("{}: {error}.", options.logs.display());
    fs::create_dir_all(&options.logs).await.map_err(failed)?;
    let journal = Arc::new(Journal::new(&options.logs.join("journal.txt"))?);
    journal.say(&format!("seed {}, logs in {}", options.seed, options.logs.display()));
    let records = Records { journal: &journal, logs: &options.logs };
    let (brokers, kafka) = start_brokers(options, &journal).await?;

    let excuses = Excuses::default();
    let both = brokers.iter().flat_map(|broker| TOPICS.map(|topic| (broker.kind(), topic)));
    let channels: Vec<_> = both
        .map(|(kind, topic)| {
            let spools = topic == TOPICS[1];
            Arc::new(Channel::new(&format!("{kind}/{topic}"), spools, PUBLISHERS, &excuses))
        })
        .collect();
    let (subscriber, callbacks, mut observers) = start_subscribers(&channels, &records).await?;

    let client = built(Client::builder().timeout(ANSWER))?;
    let (gateway, apis) = start_gateway(options, &journal, brokers, &client, &callbacks).await?;
    journal.say("the gateway serves");

    let authority = gateway.proxy.address().to_string();
    let consumers = start_consumers(&channels, &records, &authority, &mut observers)?;
    observers.sort_by(|one, two| (&one.channel.name, one.name).cmp(&(&two.channel.name, two.name)));
    let desk = Desk::new(client.clone(), format!("http://{authority}"), INTERVAL, &journal, &options.logs)?;
    let desk = Arc::new(desk);
    let mut publishers = JoinSet::new();
    for channel in &channels {
        for publisher in 0..PUBLISHERS {
            publishers.spawn(publisher::publish(Arc::clone(&desk), Arc::clone(channel), publisher));
        }
    }
    Ok(Suite {
        journal,
        client,
        gateway,
        kafka,
        subscriber,
        callbacks,
        apis,
        channels,
        desk,
        excuses,
        recoveries: Recoveries::default(),
        kills_within: 0,
        observers,
        publishers,
        consumers,
    })
}

async fn start_brokers(
    options: &Options,
    journal: &Arc<Journal>,
) -> Result<(Vec<Broker>, Option<Kafka>), String> {
    let mut brokers = Vec::new();
    if options.broker != Brokers::Kafka {
        brokers.push(Broker::Log);
    }
    if options.broker == Brokers::Log {
        return Ok((brokers, None));
    }
    let (jars, directory) = (options.kafka_jars.clone(), options.directory.join("kafka"));
    let kafka = Kafka::start(jars, directory, options.logs.join("kafka.log"), journal, &TOPICS).await?;
    journal.say(&format!("Kafka serves at {}", kafka.address()));
    brokers.push(Broker::Kafka(kafka.address()));
    Ok((brokers, Some(kafka)))
}

/// The subscribers, what leads to them, and their records.
async fn start_subscribers(
    channels: &[Arc<Channel>],
    records: &Records<'_>,
) -> Result<(Subscriber, Proxy, Vec<Arc<Observer>>), String> {
    let mut called = HashMap::new();
    for channel in channels.iter().filter(|channel| !channel.spools) {
        for (order, name) in ORDERS {
            called.insert(format!("{}/{order}", channel.name), records.observer(channel, name)?);
        }
    }
    let observers = called.values().cloned().collect();
    let subscriber = Subscriber::start(called).await?;
    let callbacks = Proxy::start().await?;
    callbacks.lead_to(subscriber.address);
    Ok((subscriber, callbacks, observers))
}

/// The gateway with its APIs and their subscriptions.
async fn start_gateway(
    options: &Options,
    journal: &Arc<Journal>,
    brokers: Vec<Broker>,
    client: &Client,
    callbacks: &Proxy,
) -> Result<(Gateway, Vec<Apis>), String> {
    let setup = Setup {
        binary: options.gateway.clone(),
        directory: options.directory.join("gateway"),
        log: options.logs.join("gateway.log"),
        uses_clock: options.faults().contains(&Fault::Clock),
    };
    let mut gateway = Gateway::new(setup, journal).await?;
    let mut all = Vec::new();
    for broker in brokers {
        all.push(Apis::new(broker, &gateway).await?);
    }
    gateway.start().await?;
    for apis in &mut all {
        let base = format!("http://{}/{}/{}", callbacks.address(), apis.kind(), TOPICS[0]);
        let subscriptions = ORDERS.map(|(order, _)| Subscription { order, url: format!("{base}/{order}") });
        apis.make_stream(&gateway, client, &subscriptions).await?;
    }
    Ok((gateway, all))
}

/// The consumers that come to the gateway; their records join the others.
fn start_consumers(
    channels: &[Arc<Channel>],
    records: &Records<'_>,
    authority: &str,
    observers: &mut Vec<Arc<Observer>>,
) -> Result<JoinSet<()>, String> {
    let mut consumers = JoinSet::new();
    // Without a limit in time: a stream has no end.
    let client = built(Client::builder())?;
    for channel in channels {
        let mut way = |name| -> Result<Way, String> {
            let observer = records.observer(channel, name)?;
            observers.push(Arc::clone(&observer));
            Ok(Way { client: client.clone(), authority: authority.to_owned(), observer })
        };
        consumers.spawn(consumer::http_get(way(TELLS_PLACES)?));
        if !channel.spools {
            consumers.spawn(consumer::sse(way("sse")?));
            consumers.spawn(consumer::websocket(way("websocket")?));
        }
    }
    Ok(consumers)
}

/// Everything is on this machine, whatever its environment says of proxies.
fn built(client: reqwest::ClientBuilder) -> Result<Client, String> {
    client.no_proxy().build().map_err(|error| format!("There is no HTTP client: {error}."))
}
