//! The traits that every broker driver implements.
//!
//! Reading is pulled, not pushed: a reader that does not ask gets nothing, so back-pressure is the absence
//! of a call and needs no protocol of its own.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use futures_util::future::BoxFuture;
use sluice_message::{Message, Offset, Partition, Place, Position, Topic};

use crate::{DriverError, ErrorKind};

/// One live set of connections to one broker, shared by every event API with the same connection settings.
pub trait BrokerDriver: Send + Sync + 'static {
    /// What this driver can do. What it does not claim it is never asked for.
    fn capabilities(&self) -> Capabilities;

    /// Which broker this is, in words: the same for as long as positions mean the same there, whatever
    /// connection leads to it, and another for every other broker. A driver that has learnt it once says so
    /// without asking again. An error, mostly while the broker is away, says that it is not known yet.
    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>>;

    /// Writes a message. Resolves once the broker has acknowledged it durably, or with an error; after an
    /// error the message may or may not have been written. Bounded in time by the driver's publish timeout.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>>;

    /// Opens a reader. Resolves once its place is fixed: every message acknowledged later than that will be
    /// read, even where the reader starts at the end of the topic. Without [`Capabilities::replay`] there is
    /// nothing before that: a reader starts at [`StartAt::Latest`] or with a group, anything else is an error of
    /// kind `Unsupported`.
    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>>;

    /// Whether the broker answers, takes the credentials and has these topics, as far as it can be asked without
    /// leaving anything behind there. No message waits for this.
    fn check<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move { self.bounds(topics).await.map(drop) })
    }

    /// Whether a reader of `wanted` is handed messages whose place is in `topic`. The same topic, unless the
    /// broker knows patterns and hands out places of the topics that match.
    fn covers(&self, wanted: &Topic, topic: &Topic) -> bool {
        wanted == topic
    }

    /// Whether a reader of all of these is handed messages whose place is in `topic`.
    fn covers_any(&self, wanted: &[Topic], topic: &Topic) -> bool {
        wanted.iter().any(|wanted| self.covers(wanted, topic))
    }

    /// The offsets that each partition of these topics holds now, the end exclusive. An error of kind
    /// `Unsupported` without [`Capabilities::replay`].
    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>>;

    /// The position of a reader that begins now: behind all that these topics hold. A driver of several brokers
    /// leaves out one that is away and was never asked before: that one's messages begin with what is made from now
    /// on. Fails like [`bounds`](Self::bounds).
    fn ends<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Position, DriverError>> {
        Box::pin(async move {
            let mut position = Position::new();
            for ((topic, partition), held) in &self.bounds(topics).await? {
                position.set_next(topic, *partition, held.end);
            }
            Ok(position)
        })
    }

    /// The position from which a reader gets every message of these topics that was made at this time
    /// (milliseconds since 1970-01-01 UTC, by the clock that the broker goes by) or later. It may get earlier
    /// ones among them: where that clock was set back, or where the broker goes by when it took a message. A
    /// partition without such messages is named with its end. An error of kind `Unsupported` where the driver
    /// knows no times.
    fn position_at<'a>(
        &'a self,
        _topics: &'a [Topic],
        _timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        let text = "This kind of broker cannot tell which messages were made at a time.";
        Box::pin(async move { Err(DriverError::new(ErrorKind::Unsupported, text)) })
    }

    /// Waits until everything handed to `publish` is settled, then closes. Later calls fail with
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A reader of one or more topics. Dropping it releases what it holds at the broker.
pub trait Consumer: Send {
    /// Waits for at least one message, then appends what is at hand up to `limit` to `batch`, in order per
    /// partition. A single message larger than the limit is handed out alone. Cancel-safe: a dropped call
    /// loses no message. Leaves `batch` as it was only when the source has ended for good, as a mock does.
    ///
    /// An error with [`DriverError::retryable`] means that the call may be repeated and continues where it
    /// was; any other ends the reader.
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>>;

    /// Records durably that everything up to `position` has been dealt with, for a reader that starts with
    /// [`StartAt::Group`]; an error of kind `Unsupported` for any other.
    ///
    /// Without [`Capabilities::replay`] the broker keeps no offsets: the places of a group's messages are numbered
    /// by the reader that hands them out, in that order, and mean nothing to another one. To commit them is to
    /// acknowledge them. What is not committed is kept by the broker, comes again after the reader was dropped or
    /// has lost its connection, and counts against the bound on what is under way: a reader that is not
    /// committed to comes to a stop.
    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>>;
}

/// What a driver can do, as its conformance run shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// One reader's messages are as good for all: many clients can be served from one reader. Where this is
    /// false each client gets a reader of its own.
    pub shared_reading: bool,
    /// Messages have a place that a later reader can start after.
    pub replay: bool,
    /// A group keeps at the broker what its readers have not committed, while they are away.
    pub groups: bool,
    /// Several readers of one group share the work, and take over from one another.
    pub sharing: bool,
    /// Record keys survive the round trip.
    pub keys: bool,
    /// Which headers survive the round trip. Where any does, the content type does.
    pub headers: HeaderSupport,
    /// A message without a payload stays one, and does not become one with an empty payload.
    pub tombstones: bool,
}

impl Capabilities {
    /// All there is.
    pub const ALL: Self = Self {
        shared_reading: true,
        replay: true,
        groups: true,
        sharing: true,
        keys: true,
        headers: HeaderSupport::Repeated,
        tombstones: true,
    };
}

/// Which headers survive the way through a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderSupport {
    /// None.
    None,
    /// Each name once, in any order, as text: values of a name that repeats are joined by `, ` (RFC 9110 section 5.3).
    Joined,
    /// All, in order, with repeats.
    Repeated,
}

/// What a publish came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Where the broker put the message, if it says.
    pub place: Option<Place>,
}

/// Which messages a reader gets.
#[derive(Debug, Clone)]
pub struct ConsumeSpec {
    /// The topics to read, at least one.
    pub topics: Vec<Topic>,
    /// Where to begin.
    pub start: StartAt,
    /// Where to end.
    pub stop: StopAt,
}

/// Where a reader ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAt {
    /// Nowhere: it waits for what comes.
    Never,
    /// Behind what the topics held when `consume` resolved: after that `fetch` leaves its batch as it was.
    /// For a reader without a group, on a driver with [`Capabilities::replay`]. It may hand out some of
    /// what came later, never less than what was there. Offsets that hold no message any more (compaction,
    /// transaction marks) must not keep it from ending.
    End,
}

/// Where a reader begins.
#[derive(Debug, Clone)]
pub enum StartAt {
    /// Behind the last message there is.
    Latest,
    /// At the first message there is.
    Earliest,
    /// Behind what this position covers. A partition that the position does not name starts at its first
    /// message. If messages behind the position are gone already, or the position lies beyond the end of a
    /// topic (which was made anew, or is another one), `consume` fails with `PositionLost`.
    After(Position),
    /// Where the group of this name committed last, sharing partitions with other members of the group;
    /// without a commit at the first message there is, or behind the last.
    Group {
        /// The group's name at the broker.
        name: Arc<str>,
        /// Whether a group without a commit starts at the first message rather than behind the last. Without
        /// [`Capabilities::replay`] it always starts behind the last.
        from_earliest: bool,
        /// Whether this reader is the only one, so that a broker may keep its place for it alone. Several readers
        /// of one group are all of them not, on a driver with [`Capabilities::sharing`].
        sole: bool,
    },
}

/// How much one `fetch` may hand out.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimit {
    /// Messages at the most.
    pub messages: usize,
    /// Bytes at the most, counted as [`Message::size`].
    pub bytes: usize,
}

/// The offsets that partitions hold.
pub type Bounds = BTreeMap<(Topic, Partition), Range<Offset>>;
