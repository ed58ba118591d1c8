//! A driver whose topics to read may be patterns: places name the concrete topics.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use sluice_broker::{Bounds, Capabilities, ConsumeSpec, Consumer, DriverError, Receipt};

use super::*;

/// The embedded log, where `^a` stands for every topic of a list whose name begins with `a`.
struct Wide {
    log: Log,
    there: Mutex<Vec<Topic>>,
}

impl Wide {
    fn resolved(&self, topics: &[Topic]) -> Vec<Topic> {
        let there = self.there.lock().unwrap();
        there.iter().filter(|topic| self.covers_any(topics, topic)).cloned().collect()
    }

    async fn publish_to(&self, topic: &str, number: u32) {
        let message = Message::builder().payload(number.to_string()).build();
        within(self.publish(&topic.into(), message)).await.unwrap();
    }
}

impl BrokerDriver for Wide {
    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.log.identity()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        self.log.publish(topic, message)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        self.log.consume(ConsumeSpec { topics: self.resolved(&spec.topics), ..spec })
    }

    fn covers(&self, wanted: &Topic, topic: &Topic) -> bool {
        wanted == topic
            || wanted.as_str().strip_prefix('^').is_some_and(|start| topic.as_str().starts_with(start))
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(async move { self.log.bounds(&self.resolved(topics)).await })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

struct Patterned {
    wide: Arc<Wide>,
    hubs: Arc<Hubs>,
    _dir: TempDir,
}

impl Patterned {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogOptions::default()).unwrap();
        let there = Mutex::new(vec!["a1".into(), "a2".into()]);
        let wide = Arc::new(Wide { log, there });
        for topic in ["a1", "a2", "b"] {
            wide.publish_to(topic, 0).await;
        }
        let hubs = Hubs::new(HubOptions::default(), Arc::new(StreamMetrics::default()));
        Self { wide, hubs, _dir: dir }
    }

    async fn join(&self, begin: Begin) -> Result<Cursor, DriverError> {
        let driver = Arc::clone(&self.wide) as Arc<dyn BrokerDriver>;
        within(self.hubs.join(&driver, &["^a".into()], Joining::new(begin, Lag::CatchUp))).await
    }
}

#[tokio::test]
async fn a_client_of_a_pattern_goes_on_in_the_topics_that_its_position_names() {
    let bench = Patterned::new().await;
    let mut cursor = bench.join(Begin::Latest).await.unwrap();
    bench.wide.publish_to("a1", 1).await;
    bench.wide.publish_to("a2", 2).await;
    let mut numbers = read(&mut cursor, 2).await.0;
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    let reached = cursor.position();
    assert_eq!(reached, position("a1@0#1;a2@0#1"));
    drop(cursor);

    bench.wide.publish_to("a2", 3).await;
    let mut cursor = bench.join(Begin::After(reached)).await.unwrap();
    assert_eq!(read(&mut cursor, 1).await.0, [3]);
}

#[tokio::test]
async fn a_position_of_a_topic_that_no_pattern_covers_is_refused_and_one_that_is_gone_is_not() {
    let bench = Patterned::new().await;
    let error = bench.join(Begin::After(position("b@0#0"))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PositionLost, "{error}");
    let mut cursor = bench.join(Begin::After(position("a1@0#0;a2@0#0;agone@0#7"))).await.unwrap();
    bench.wide.publish_to("a1", 1).await;
    assert_eq!(read(&mut cursor, 1).await.0, [1]);
}
