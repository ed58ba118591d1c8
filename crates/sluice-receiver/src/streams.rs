//! Who is connected: the open streams of a gateway with how far each is behind, and the clients that were lately
//! too slow. Looked at by people through the management API; nothing on a message's way waits for it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use sluice_api::ApiId;
use sluice_policy::Caller;
use sluice_stream::Standing;

/// How many slow clients are remembered for each API.
const REMEMBERED: usize = 100;

/// One open stream.
#[derive(Debug)]
pub struct Stream {
    /// Unique in this process.
    pub id: u64,
    /// The API that it is a stream of.
    pub api: ApiId,
    /// The kind of receiver, as `sse`.
    pub receiver: &'static str,
    /// The other end of its connection.
    pub client: SocketAddr,
    /// The plan by which it came.
    pub plan: Option<String>,
    /// The id of its application, where it came by a subscription.
    pub application: Option<String>,
    /// When it began: milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    skipped: AtomicU64,
    standing: OnceLock<Arc<Standing>>,
    group: OnceLock<String>,
}

impl Stream {
    /// Messages that it was not handed yet, about.
    pub fn behind(&self) -> u64 {
        self.standing.get().map_or(0, |standing| standing.behind())
    }

    /// Messages that were skipped for it, because it was too slow.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// The group whose messages it shares with others.
    pub fn group(&self) -> Option<&str> {
        self.group.get().map(String::as_str)
    }

    /// Sets the group that it is in; the first call counts.
    pub(crate) fn share(&self, group: &str) {
        let _first = self.group.set(group.to_owned());
    }

    /// Sets where it is read from; the first call counts.
    pub(crate) fn follow(&self, standing: &Arc<Standing>) {
        let _first = self.standing.set(Arc::clone(standing));
    }
}

/// A client that was too slow.
#[derive(Debug, Clone)]
pub struct SlowClient {
    /// The stream, as it was.
    pub stream: Arc<Stream>,
    /// Messages that it was behind, or that were skipped for it.
    pub behind: u64,
    /// What became of it.
    pub end: SlowClientEnd,
    /// When: milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
}

/// What became of a client that was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowClientEnd {
    /// Messages were skipped for it, and it goes on.
    Skipped,
    /// It was disconnected, as the API wants it.
    Disconnected,
    /// It took nothing for so long that its connection was cut.
    Stalled,
}

impl SlowClientEnd {
    /// Its name in logs and in the management API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Disconnected => "disconnected",
            Self::Stalled => "stalled",
        }
    }
}

/// The streams of an API in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamSummary {
    /// Streams open now.
    pub open: usize,
    /// How far the slowest is behind.
    pub farthest_behind: u64,
}

/// The streams that are open, and how many they are of each receiver of each API.
#[derive(Debug, Default)]
struct Open {
    streams: HashMap<u64, Arc<Stream>>,
    counts: HashMap<(ApiId, &'static str), usize>,
}

/// All open streams of a gateway.
#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<Open>,
    slow: Mutex<HashMap<ApiId, VecDeque<SlowClient>>>,
    next: AtomicU64,
}

impl Streams {
    /// Every open stream of an API, the farthest behind first, at most `limit`.
    pub fn of_api(&self, api: &ApiId, limit: usize) -> Vec<Arc<Stream>> {
        let mut streams: Vec<_> = {
            let open = self.open();
            open.streams
                .values()
                .filter(|stream| stream.api == *api)
                .map(|stream| (stream.behind(), Arc::clone(stream)))
                .collect()
        };
        streams.sort_by_key(|(behind, stream)| (std::cmp::Reverse(*behind), stream.id));
        streams.into_iter().take(limit).map(|(_, stream)| stream).collect()
    }

    /// The streams of an API in numbers.
    pub fn summary(&self, api: &ApiId) -> StreamSummary {
        let open = self.open();
        let own = open.streams.values().filter(|stream| stream.api == *api);
        own.fold(StreamSummary::default(), |summary, stream| StreamSummary {
            open: summary.open + 1,
            farthest_behind: summary.farthest_behind.max(stream.behind()),
        })
    }

    /// The clients of an API that were too slow, the last first; as many as are remembered.
    pub fn slow_clients(&self, api: &ApiId) -> Vec<SlowClient> {
        self.slow().get(api).into_iter().flatten().rev().cloned().collect()
    }

    /// Forgets the slow clients of an API that is gone.
    pub fn forget(&self, api: &ApiId) {
        self.slow().remove(api);
    }

    /// A stream that begins; `None` where its receiver has as many of this API open as this limit allows.
    pub(crate) fn add(
        &self,
        api: &ApiId,
        receiver: &'static str,
        client: SocketAddr,
        caller: &Caller,
        limit: Option<u32>,
    ) -> Option<Arc<Stream>> {
        let mut open = self.open();
        let count = open.counts.entry((api.clone(), receiver)).or_default();
        if limit.is_some_and(|limit| u64::from(limit) <= *count as u64) {
            return None;
        }
        *count += 1;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(Stream {
            id,
            api: api.clone(),
            receiver,
            client,
            plan: caller.plan().map(|plan| plan.0.clone()),
            application: caller.subscription().map(|subscription| subscription.application.0.clone()),
            since_ms: now_ms(),
            skipped: AtomicU64::new(0),
            standing: OnceLock::new(),
            group: OnceLock::new(),
        });
        open.streams.insert(id, Arc::clone(&stream));
        Some(stream)
    }

    pub(crate) fn remove(&self, stream: &Stream) {
        let mut open = self.open();
        if open.streams.remove(&stream.id).is_none() {
            return;
        }
        if let Entry::Occupied(mut count) = open.counts.entry((stream.api.clone(), stream.receiver)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Remembers a client that was too slow.
    pub(crate) fn note_slow(&self, stream: &Arc<Stream>, behind: u64, end: SlowClientEnd) {
        if end == SlowClientEnd::Skipped {
            stream.skipped.fetch_add(behind, Ordering::Relaxed);
        }
        let mut slow = self.slow();
        let remembered = slow.entry(stream.api.clone()).or_default();
        if remembered.len() == REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(SlowClient { stream: Arc::clone(stream), behind, end, at_ms: now_ms() });
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing panics between the changes of the two maps.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slow(&self) -> MutexGuard<'_, HashMap<ApiId, VecDeque<SlowClient>>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_message::Topic;
    use sluice_stream::{Begin, Cursor, Joining, Lag};

    use super::*;
    use crate::testing::{self, Bench};

    fn add(bench: &Bench, kind: &'static str, port: u16) -> Arc<Stream> {
        let caller = testing::caller(&bench.binding, kind);
        let client = ([10, 0, 0, 1], port).into();
        bench.binding.streams.add(&bench.binding.api, kind, client, &caller, None).unwrap()
    }

    async fn join(bench: &Bench, stream: &Stream) -> Cursor {
        let joining = Joining::new(Begin::Latest, Lag::Skip);
        let topics = [Topic::from("t")];
        let cursor = bench.binding.hubs.join(&bench.binding.driver, &topics, joining).await.unwrap();
        stream.follow(cursor.standing());
        cursor
    }

    #[tokio::test]
    async fn the_stream_that_is_farthest_behind_comes_first() {
        let bench = Bench::new(100, &json!({}));
        let streams = &bench.binding.streams;
        let (near, far, other) = (add(&bench, "sse", 1), add(&bench, "websocket", 2), add(&bench, "sse", 3));
        let (mut reading, _idle) = (join(&bench, &near).await, join(&bench, &far).await);
        for _ in 0..3 {
            bench.publish("t", "x").await;
        }
        bench.read_by_hub(3).await;
        reading.next(&mut Vec::new()).await.unwrap();
        let found = |limit| -> Vec<_> {
            let found = streams.of_api(&bench.binding.api, limit);
            found.iter().map(|stream| (stream.id, stream.behind())).collect()
        };
        assert_eq!(found(9), [(far.id, 3), (near.id, 0), (other.id, 0)]);
        assert_eq!(found(1), [(far.id, 3)]);
        assert_eq!(streams.summary(&bench.binding.api), StreamSummary { open: 3, farthest_behind: 3 });
        streams.remove(&far);
        assert_eq!(found(9), [(near.id, 0), (other.id, 0)]);
        let elsewhere = ApiId("other".to_owned());
        assert!(streams.of_api(&elsewhere, 9).is_empty());
        assert_eq!(streams.summary(&elsewhere), StreamSummary::default());
    }

    #[tokio::test]
    async fn as_many_streams_of_a_receiver_begin_as_its_api_allows() {
        let bench = Bench::new(100, &json!({}));
        let streams = &bench.binding.streams;
        let begin = |api: &ApiId, kind| {
            let caller = testing::caller(&bench.binding, kind);
            streams.add(api, kind, ([10, 0, 0, 1], 1).into(), &caller, Some(2))
        };
        let own = &bench.binding.api;
        let (first, _second) = (begin(own, "sse").unwrap(), begin(own, "sse").unwrap());
        assert!(begin(own, "sse").is_none());
        assert!(begin(own, "websocket").is_some(), "another receiver");
        assert!(begin(&ApiId("other".to_owned()), "sse").is_some(), "another API");
        streams.remove(&first);
        streams.remove(&first);
        assert!(begin(own, "sse").is_some(), "one has ended");
        assert!(begin(own, "sse").is_none());
        streams.of_api(own, 9).iter().for_each(|stream| streams.remove(stream));
        assert_eq!(streams.open().counts.len(), 1, "only the other API is left");
    }

    #[tokio::test]
    async fn the_last_slow_clients_are_remembered_and_no_more_than_that() {
        let bench = Bench::new(100, &json!({}));
        let (streams, api) = (&bench.binding.streams, &bench.binding.api);
        let stream = add(&bench, "sse", 7);
        assert_eq!((stream.plan.as_deref(), &stream.application), (Some("open"), &None));
        for behind in 0..REMEMBERED as u64 + 5 {
            streams.note_slow(&stream, behind, SlowClientEnd::Disconnected);
        }
        streams.note_slow(&stream, 12, SlowClientEnd::Skipped);
        let slow = streams.slow_clients(api);
        assert_eq!((slow.len(), slow[0].behind, slow[1].behind), (REMEMBERED, 12, REMEMBERED as u64 + 4));
        assert_eq!(
            (stream.skipped(), slow[0].end.as_str(), slow[1].end.as_str()),
            (12, "skipped", "disconnected")
        );
        assert!(slow[0].at_ms >= stream.since_ms);
        streams.forget(api);
        assert!(streams.slow_clients(api).is_empty());
    }
}
