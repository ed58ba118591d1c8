//! How the brokers behind an event API are doing: each is asked when the API is deployed and now and then after, so
//! that a wrong address or password is told before a client meets it. No message waits for this, and nothing is
//! decided by it: whether a message can go is found out by sending it.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_api::{ApiId, Broker};
use sluice_broker::{BrokerDriver, DriverError, ErrorKind};
use sluice_message::Topic;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The time between two questions to a broker that answers.
const WHILE_UP: Duration = Duration::from_secs(10);

/// The time between two questions to a broker that does not.
const WHILE_DOWN: Duration = Duration::from_secs(5);

/// How long a broker must answer until the log is told that its trouble is over. One that comes and goes is in trouble.
const STEADY: Duration = Duration::from_secs(15);

/// Brokers that are asked at once, by all APIs together.
pub(crate) const AT_ONCE: usize = 16;

/// How a broker of an event API is doing.
#[derive(Debug, Clone)]
pub struct BrokerStatus {
    /// Its name in the API.
    pub name: String,
    /// Its kind, as `kafka`.
    pub kind: &'static str,
    /// Where it is, in words without secrets.
    pub address: String,
    /// What it answered last.
    pub state: BrokerState,
    /// Since when it is so: milliseconds since 1970-01-01 UTC.
    pub since_ms: i64,
}

/// What a broker answered last.
#[derive(Debug, Clone)]
pub enum BrokerState {
    /// It has not answered yet, nor failed to.
    Unknown,
    /// It answers, and has the topics of the API.
    Up,
    /// It cannot be used, for this reason. With its own words and addresses: for operators only.
    Down(DriverError),
    /// Each client connects with credentials of its own, so that nobody else can ask it.
    OfClients,
}

/// The brokers of one deployment, asked for as long as it is served.
pub(crate) struct BrokerWatch {
    brokers: Vec<Arc<Watched>>,
}

struct Watched {
    driver: Arc<dyn BrokerDriver>,
    topics: Vec<Topic>,
    known: Mutex<Known>,
}

/// What is known of a broker.
#[derive(Debug, Clone)]
struct Known {
    status: BrokerStatus,
    trouble: Trouble,
}

/// What the log was told of a broker since it was last sound.
#[derive(Debug, Clone, Default)]
struct Trouble {
    /// Each cause once, however often they take turns.
    causes: Vec<ErrorKind>,
    /// Since when it has answered.
    answers_since: Option<Instant>,
}

impl Trouble {
    /// Notes that the broker cannot be used; whether that is news.
    fn begins(&mut self, cause: ErrorKind) -> bool {
        self.answers_since = None;
        let is_news = !self.causes.contains(&cause);
        if is_news {
            self.causes.push(cause);
        }
        is_news
    }

    /// Notes that the broker answers; whether its trouble is over by that.
    fn ends(&mut self) -> bool {
        let since = *self.answers_since.get_or_insert_with(Instant::now);
        let is_over = !self.causes.is_empty() && since.elapsed() >= STEADY;
        if is_over {
            self.causes.clear();
        }
        is_over
    }
}

impl BrokerWatch {
    /// Of these brokers, each with its driver and the topics that the API uses there. What `former` knows of the
    /// same drivers is taken over.
    pub(crate) fn new<'a>(
        brokers: impl Iterator<Item = (&'a Broker, Arc<dyn BrokerDriver>, Vec<Topic>)>,
        former: Option<&Self>,
    ) -> Self {
        let watched = brokers.map(|(broker, driver, topics)| {
            let known = former.and_then(|former| {
                former
                    .brokers
                    .iter()
                    .find(|known| Arc::ptr_eq(&known.driver, &driver) && known.topics == topics)
            });
            let (state, since_ms, trouble) = match known.map(|known| known.known()) {
                Some(Known { status, trouble }) => (status.state, status.since_ms, trouble),
                None if broker.configuration.waits_for_clients() => {
                    (BrokerState::OfClients, now_ms(), Trouble::default())
                }
                None => (BrokerState::Unknown, now_ms(), Trouble::default()),
            };
            let status = BrokerStatus {
                name: broker.name.clone(),
                kind: broker.configuration.kind(),
                address: broker.configuration.address(),
                state,
                since_ms,
            };
            Arc::new(Watched { driver, topics, known: Mutex::new(Known { status, trouble }) })
        });
        Self { brokers: watched.collect() }
    }

    /// How they are doing.
    pub(crate) fn status(&self) -> Vec<BrokerStatus> {
        self.brokers.iter().map(|watched| watched.known().status).collect()
    }

    /// Begins to ask them, until the API is drained or this is dropped. To be called in async code.
    pub(crate) fn begin(&self, api: &ApiId, turns: &Arc<Semaphore>, drain: &CancellationToken) {
        for watched in self.brokers.iter().filter(|watched| watched.is_asked()) {
            let (api, turns, drain) = (api.clone(), Arc::clone(turns), drain.clone());
            let watched = Arc::downgrade(watched);
            tokio::spawn(async move {
                tokio::select! {
                    () = ask_on(&api, watched, &turns) => {}
                    () = drain.cancelled() => {}
                }
            });
        }
    }
}

/// Asks a broker again and again, for as long as somebody holds it.
async fn ask_on(api: &ApiId, watched: Weak<Watched>, turns: &Semaphore) {
    loop {
        let Some(broker) = watched.upgrade() else { return };
        let answer = {
            // Never closed.
            let _turn = turns.acquire().await;
            timeout(PATIENCE, broker.driver.check(&broker.topics)).await
        };
        let answer = answer.unwrap_or_else(|_| {
            let text = format!("No answer within {} s.", PATIENCE.as_secs());
            Err(DriverError::new(ErrorKind::Unreachable, text))
        });
        let is_up = answer.is_ok();
        broker.note(api, answer);
        drop(broker);
        sleep(if is_up { WHILE_UP } else { WHILE_DOWN }).await;
    }
}

impl Watched {
    /// Whether it can be asked by other than its clients.
    fn is_asked(&self) -> bool {
        !matches!(self.known().status.state, BrokerState::OfClients)
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps an answer, and tells the log of each trouble once, and of its end. Drivers leave that to this: here alone it
    /// is known which API cannot do without the broker, and whatever keeps it from that is found by asking.
    fn note(&self, api: &ApiId, answer: Result<(), DriverError>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { status, trouble } = &mut *known;
        let former =
            std::mem::replace(&mut status.state, answer.map_or_else(BrokerState::Down, |()| BrokerState::Up));
        let is_another = match (&former, &status.state) {
            (BrokerState::Down(former), BrokerState::Down(error)) => former.kind != error.kind,
            (BrokerState::Up, BrokerState::Up) => false,
            _ => true,
        };
        if is_another {
            status.since_ms = now_ms();
        }
        let (broker, address) = (&status.name, &status.address);
        match &status.state {
            BrokerState::Down(error) if trouble.begins(error.kind) => {
                warn!(%api, broker, address, code = error.code(), %error, "A broker cannot be used.");
            }
            BrokerState::Up if trouble.ends() => {
                info!(%api, broker, address, "A broker can be used again.");
            }
            _ => {}
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::json;

    use super::*;
    use crate::scripted::Scripted;

    fn broker() -> Broker {
        let configuration = json!({ "bootstrapServers": "one:9092", "topics": ["t"] });
        let broker = json!({ "name": "b", "group": "b", "type": "kafka", "configuration": configuration });
        sluice_api::from_value(broker).unwrap()
    }

    fn watch(driver: &Arc<Scripted>, topic: &str, former: Option<&BrokerWatch>) -> BrokerWatch {
        let broker = broker();
        let driver = Arc::clone(driver) as Arc<dyn BrokerDriver>;
        BrokerWatch::new([(&broker, driver, vec![topic.into()])].into_iter(), former)
    }

    fn begin(watch: &BrokerWatch) -> CancellationToken {
        let drain = CancellationToken::new();
        watch.begin(&ApiId("a".to_owned()), &Arc::new(Semaphore::new(AT_ONCE)), &drain);
        drain
    }

    fn state(watch: &BrokerWatch) -> (Option<&'static str>, bool) {
        match watch.status().remove(0).state {
            BrokerState::Unknown | BrokerState::OfClients => (None, false),
            BrokerState::Up => (None, true),
            BrokerState::Down(error) => (Some(error.code()), false),
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// How often this was logged by this thread, as long as the guard lives.
        fn count(&self, text: &str) -> usize {
            String::from_utf8_lossy(&self.0.lock().unwrap()).matches(text).count()
        }

        fn catch(&self) -> tracing::subscriber::DefaultGuard {
            let lines = self.clone();
            let subscriber = tracing_subscriber::fmt().with_writer(move || lines.clone()).finish();
            tracing::subscriber::set_default(subscriber)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_is_down_until_it_answers_and_the_log_is_told_once_of_each_change() {
        let lines = Lines::default();
        let _caught = lines.catch();
        let broker = Scripted::new([
            ErrorKind::Unreachable,
            ErrorKind::Unreachable,
            ErrorKind::Refused,
            ErrorKind::Refused,
        ]);
        let watch = watch(&broker, "t", None);
        let shown = &watch.status()[0];
        assert_eq!((&*shown.name, shown.kind, &*shown.address), ("b", "kafka", "kafka one:9092"));
        assert_eq!(state(&watch), (None, false), "nobody has asked yet");
        let _drain = begin(&watch);

        broker.is_asked(1).await;
        assert_eq!(state(&watch), (Some("broker.unreachable"), false));
        let down_since = watch.status()[0].since_ms;
        assert!(down_since > 0);
        broker.is_asked(2).await;
        assert_eq!(watch.status()[0].since_ms, down_since, "it is down since the first time");
        assert_eq!(lines.count("A broker cannot be used."), 1);
        broker.is_asked(3).await;
        assert_eq!(state(&watch), (Some("broker.refused"), false));
        broker.is_asked(4).await;
        assert_eq!(lines.count("A broker cannot be used."), 2, "for another reason");

        broker.is_asked(5).await;
        assert_eq!(state(&watch), (None, true));
        let up_since = watch.status()[0].since_ms;
        broker.is_asked(7).await;
        assert_eq!(watch.status()[0].since_ms, up_since);
        assert_eq!(lines.count("A broker can be used again."), 1);

        broker.faults.lock().unwrap().push_back(ErrorKind::Unreachable);
        broker.is_asked(8).await;
        assert_eq!(lines.count("A broker cannot be used."), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_comes_and_goes_is_told_of_once_and_its_end_when_it_stays() {
        let lines = Lines::default();
        let _caught = lines.catch();
        let broker = Scripted::new([]);
        let watch = watch(&broker, "t", None);
        let _drain = begin(&watch);
        broker.is_asked(1).await;
        for asked in [2, 4, 6, 8] {
            broker.faults.lock().unwrap().push_back(ErrorKind::Unreachable);
            broker.is_asked(asked).await;
            assert_eq!(state(&watch), (Some("broker.unreachable"), false));
            broker.is_asked(asked + 1).await;
            assert_eq!(state(&watch), (None, true), "the state is what it says just now");
        }
        let told = || (lines.count("A broker cannot be used."), lines.count("A broker can be used again."));
        assert_eq!(told(), (1, 0));
        broker.is_asked(11).await;
        assert_eq!(told(), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_was_up_from_the_first_is_not_told_of() {
        let lines = Lines::default();
        let _caught = lines.catch();
        let broker = Scripted::new([]);
        let watch = watch(&broker, "t", None);
        let _drain = begin(&watch);
        broker.is_asked(3).await;
        assert_eq!(state(&watch), (None, true));
        assert_eq!(lines.count("A broker"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_redeployment_knows_of_the_same_topics_at_the_same_broker_what_was_known() {
        let lines = Lines::default();
        let _caught = lines.catch();
        let broker = Scripted::new(vec![ErrorKind::Unreachable; 4]);
        let former = watch(&broker, "t", None);
        let drain = begin(&former);
        broker.is_asked(2).await;
        drain.cancel();
        let known = former.status().remove(0);

        let same = watch(&broker, "t", Some(&former));
        assert_eq!(state(&same), (Some("broker.unreachable"), false));
        assert_eq!(same.status()[0].since_ms, known.since_ms);
        let _drain = begin(&same);
        broker.is_asked(4).await;
        assert_eq!(lines.count("A broker cannot be used."), 1, "it is the same trouble");

        assert_eq!(state(&watch(&broker, "u", Some(&same))), (None, false));
        assert_eq!(state(&watch(&Scripted::new([]), "t", Some(&same))), (None, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_is_asked_no_more_when_its_api_is_drained_or_dropped() {
        let long = WHILE_UP * 10;
        let broker = Scripted::new([]);
        let drained = watch(&broker, "t", None);
        let drain = begin(&drained);
        broker.is_asked(2).await;
        drain.cancel();
        sleep(long).await;
        assert_eq!(broker.asked(), 2);

        let dropped = watch(&broker, "t", None);
        let _drain = begin(&dropped);
        broker.is_asked(4).await;
        drop(dropped);
        sleep(long).await;
        assert_eq!(broker.asked(), 4);
    }
}
