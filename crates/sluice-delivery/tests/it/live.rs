//! Subscribers that are promised nothing, before a broker that keeps no messages: theirs have no place.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::Qos;
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log,
    Receipt, StartAt,
};
use sluice_delivery::Replay;
use sluice_message::{Message, MessageBuilder, Position, Topic};

use crate::{
    bench::{Bench, Offer, patient, subscription},
    receiver::Receiver,
};

/// What comes into a log from now on, as a broker without places hands it out.
struct Live(Log);

struct LiveReader(Box<dyn Consumer>);

fn unsupported<T>() -> Result<T, DriverError> {
    Err(DriverError::new(ErrorKind::Unsupported, "Nothing is kept."))
}

impl BrokerDriver for Live {
    fn capabilities(&self) -> Capabilities {
        Capabilities { replay: false, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok("live".to_owned()) }.boxed()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        self.0.publish(topic, message)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move {
            if !matches!(spec.start, StartAt::Latest) {
                return unsupported();
            }
            Ok(Box::new(LiveReader(self.0.consume(spec).await?)) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async { unsupported() }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

impl Consumer for LiveReader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            let mut placed = Vec::new();
            self.0.fetch(&mut placed, limit).await?;
            batch.extend(placed.iter().map(|message| {
                let bare = Message::builder().headers(message.headers().clone());
                message.payload_bytes().cloned().into_iter().fold(bare, MessageBuilder::payload).build()
            }));
            Ok(())
        }
        .boxed()
    }

    fn commit<'a>(&'a mut self, _: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        async { unsupported() }.boxed()
    }
}

#[tokio::test]
async fn a_subscriber_that_is_promised_nothing_gets_what_comes_while_it_is_served() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let offer = Offer { qos: Qos::None, dead_letters: true, ..Offer::default() };
    bench.publish("before").await;
    bench.offer_by(|| Arc::new(Live(bench.log.clone())), &offer);
    let subscription = subscription("s", patient(receiver.url("/"), 2));
    bench.deliveries.put(subscription.clone());
    bench.deliveries.placed(&subscription.id).await;
    receiver.poison("bad", Some(422));
    for text in ["one", "bad", "two"] {
        bench.publish(text).await;
    }
    let mut texts = Vec::new();
    while !texts.iter().any(|text| text == "two") {
        texts.extend(receiver.texts(1).await);
    }
    assert_eq!(texts.first().map(String::as_str), Some("one"));
    assert_eq!(bench.dead_letter().await.payload(), b"bad");
    let replayed = bench.replay("s", Replay::Since(0)).await.unwrap_err();
    assert_eq!(replayed.code(), "replay.unsupported");
    // Another connection, and the next process: it begins anew with what comes then.
    bench.offer_by(|| Arc::new(Live(bench.log.clone())), &offer);
    let bench = bench.restarted().await;
    bench.publish("for nobody").await;
    bench.offer_by(|| Arc::new(Live(bench.log.clone())), &offer);
    bench.deliveries.put(subscription.clone());
    bench.deliveries.placed(&subscription.id).await;
    bench.publish("three").await;
    assert_eq!(receiver.texts(1).await, ["three"]);
}
