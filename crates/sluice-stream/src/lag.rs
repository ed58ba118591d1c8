//! How far hubs are behind their brokers, for people: each broker is asked now and then where its topics end. No
//! message waits for this, and nothing is decided by it.

use std::{
    convert::Infallible,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_broker::{Bounds, BrokerDriver};
use sluice_message::{Position, Topic};
use tokio::time::{sleep, timeout};

use crate::{
    Hubs,
    hub::{Hub, Phase},
};

/// The time between two questions about the topics of one hub.
const EVERY: Duration = Duration::from_secs(15);

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hubs whose broker is asked at once.
pub(crate) const AT_ONCE: usize = 4;

impl Hubs {
    /// Messages of these topics that the broker has and that their hub has not read, about: by their offsets, some of
    /// which may hold none. As the broker said some seconds ago; `None` where nobody reads them, the broker keeps no
    /// messages, or it has not said so.
    pub fn lag(&self, driver: &Arc<dyn BrokerDriver>, topics: &[Topic]) -> Option<u64> {
        *self.running(driver, topics)?.behind()
    }
}

impl Hub {
    fn behind(&self) -> MutexGuard<'_, Option<u64>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the lag of a hub up to date for as long as it is polled.
pub(crate) async fn measure(hub: &Hub) -> Infallible {
    if !hub.driver.capabilities().replay {
        return std::future::pending().await;
    }
    loop {
        sleep(EVERY).await;
        // Before that it has no place to count from.
        if matches!(hub.progress.borrow().phase, Phase::Live) {
            let bounds = {
                // Never closed.
                let _turn = hub.measuring.acquire().await;
                timeout(PATIENCE, hub.driver.bounds(&hub.topics)).await
            };
            // What was read while the broker answered is not behind.
            let lag = bounds.ok().and_then(Result::ok).map(|bounds| behind(&hub.mark().head, &bounds));
            *hub.behind() = lag;
        }
    }
}

/// What partitions hold behind a position, counted by offsets.
pub fn behind(position: &Position, bounds: &Bounds) -> u64 {
    let partitions = bounds.iter().map(|((topic, partition), held)| {
        let next = position.next(topic, *partition).map_or(held.start.0, |next| next.0.max(held.start.0));
        held.end.0.saturating_sub(next)
    });
    partitions.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::{FutureExt, future::BoxFuture};
    use sluice_broker::{BatchLimit, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt};
    use sluice_message::{Message, Offset, Partition};

    use super::*;
    use crate::{Begin, Cursor, HubOptions, Joining, Lag, StreamMetrics};

    /// A broker whose readers are handed nothing, however far its topic goes.
    struct Stuck {
        replay: bool,
        /// Where the topic ends; nothing while the broker is away.
        end: Mutex<Option<u64>>,
        asked: AtomicUsize,
    }

    impl Stuck {
        fn at(end: u64) -> Arc<Self> {
            Arc::new(Self { replay: true, end: Mutex::new(Some(end)), asked: AtomicUsize::new(0) })
        }

        fn goes_to(&self, end: Option<u64>) {
            *self.end.lock().unwrap() = end;
        }
    }

    struct Silent;

    impl Consumer for Silent {
        fn fetch<'a>(
            &'a mut self,
            _: &'a mut Vec<Message>,
            _: BatchLimit,
        ) -> BoxFuture<'a, Result<(), DriverError>> {
            std::future::pending().boxed()
        }

        fn commit<'a>(&'a mut self, _: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
            unsupported()
        }
    }

    fn unsupported<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unsupported, "Not here.")) }.boxed()
    }

    impl BrokerDriver for Stuck {
        fn capabilities(&self) -> Capabilities {
            Capabilities { replay: self.replay, ..Capabilities::ALL }
        }

        fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
            unsupported()
        }

        fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
            unsupported()
        }

        fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
            async { Ok(Box::new(Silent) as Box<dyn Consumer>) }.boxed()
        }

        fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let end = *self.end.lock().unwrap();
            async move {
                let end = end.ok_or_else(|| DriverError::new(ErrorKind::Unreachable, "It is away."))?;
                Ok([((topics[0].clone(), Partition(0)), Offset(2)..Offset(end))].into())
            }
            .boxed()
        }

        fn close(&self) -> BoxFuture<'_, ()> {
            async {}.boxed()
        }
    }

    struct Bench {
        hubs: Arc<Hubs>,
        driver: Arc<dyn BrokerDriver>,
        topics: [Topic; 1],
    }

    impl Bench {
        fn of(broker: &Arc<Stuck>) -> Self {
            Self {
                hubs: Hubs::new(HubOptions::default(), Arc::new(StreamMetrics::default())),
                driver: Arc::clone(broker) as _,
                topics: ["t".into()],
            }
        }

        async fn join(&self) -> Cursor {
            self.hubs.join(&self.driver, &self.topics, Joining::new(Begin::Latest, Lag::Skip)).await.unwrap()
        }

        /// What is known when the broker was asked once more.
        async fn next(&self) -> Option<u64> {
            sleep(EVERY).await;
            // The hub's timer fires in the same moment; it is done when this one goes off.
            sleep(Duration::from_millis(1)).await;
            self.hubs.lag(&self.driver, &self.topics)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_what_the_broker_has_and_the_hub_has_not_read() {
        let broker = Stuck::at(5);
        let bench = Bench::of(&broker);
        let client = bench.join().await;
        assert_eq!(bench.hubs.lag(&bench.driver, &bench.topics), None, "nobody has asked yet");
        assert_eq!(bench.next().await, Some(0), "it has begun at the end");
        broker.goes_to(Some(12));
        assert_eq!(bench.next().await, Some(7));
        broker.goes_to(None);
        assert_eq!(bench.next().await, None, "the broker does not answer");
        broker.goes_to(Some(13));
        assert_eq!(bench.next().await, Some(8));
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_is_asked_for_hubs_that_run_only_and_once_for_all_clients() {
        let broker = Stuck::at(5);
        let bench = Bench::of(&broker);
        let clients = [bench.join().await, bench.join().await, bench.join().await];
        let asked = || broker.asked.load(Ordering::SeqCst);
        let at_first = asked();
        bench.next().await;
        assert_eq!(asked(), at_first + 1);
        drop(clients);
        assert_eq!(bench.next().await, None, "the hub has ended");
        let at_last = asked();
        bench.next().await;
        assert_eq!(asked(), at_last);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_keeps_no_messages_is_never_asked() {
        let broker = Arc::new(Stuck { replay: false, end: Mutex::new(Some(5)), asked: AtomicUsize::new(0) });
        let bench = Bench::of(&broker);
        let client = bench.join().await;
        assert_eq!(bench.next().await, None);
        assert_eq!(broker.asked.load(Ordering::SeqCst), 0);
        drop(client);
    }

    #[test]
    fn what_is_gone_at_the_broker_is_not_behind() {
        let bounds = |partition: u32, held: std::ops::Range<u64>| {
            (("t".into(), Partition(partition)), Offset(held.start)..Offset(held.end))
        };
        let bounds = [bounds(0, 4..10), bounds(1, 3..5), bounds(2, 0..2)].into();
        assert_eq!(behind(&"t@0#1;t@2#7".parse().unwrap(), &bounds), 6 + 2);
    }
}
