//! Where a client begins: behind the position that it brings, behind the one that the gateway remembers of it, or
//! where its API lets new clients begin.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
};

use http::{HeaderMap, StatusCode, request::Parts};
use sluice_api::{ApiId, Qos, SlowClients, UnknownPosition};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Place, Position, Topic};
use sluice_policy::Caller;
use sluice_stream::{Begin, Confirm, Cursor, Joining, Lag, Positions, client_reader};
use tracing::warn;

use crate::{Binding, Refusal, client, query::parameter};

/// What a client says about where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bookmark {
    /// Nothing: it begins where new clients do.
    New,
    /// It brings a position, as the text that it was given.
    Position(String),
    /// The gateway remembers how far the client of this identifier has come.
    Remembered(String),
}

/// A client's place, and what was found about the one that it wanted.
pub(crate) struct Placed {
    pub(crate) cursor: Cursor,
    /// Whether the place is not the one that the client asked for, so that it may have missed messages.
    pub(crate) has_gap: bool,
    /// Where its position is to be stored.
    pub(crate) reader: Option<String>,
}

impl Placed {
    /// What is noted while the client comes on from here, if anything is.
    pub(crate) fn progress(&mut self, binding: &Binding) -> Option<Progress> {
        match (self.cursor.confirm(), self.reader.take()) {
            (Some(confirm), _) => Some(Progress::Shared(confirm)),
            (None, Some(reader)) => Some(Progress::new(binding, reader, self.cursor.position())),
            (None, None) => None,
        }
    }
}

/// What becomes of the slow clients of a receiver with this promise.
pub(crate) fn lag(binding: &Binding, qos: Qos) -> Lag {
    match binding.definition.guarantees.slow_clients_of(qos) {
        SlowClients::Skip => Lag::Skip,
        SlowClients::Disconnect => Lag::Stop,
        SlowClients::Hold => Lag::CatchUp,
    }
}

/// What a client of a stream says: the position that it brings, if the promise is kept by positions, or with
/// `auto` the name that it gives itself.
pub(crate) fn bookmark(
    binding: &Binding,
    qos: Qos,
    brought: Option<String>,
    request: &Parts,
    caller: &Caller,
    client: SocketAddr,
) -> Result<Bookmark, Refusal> {
    if let Some(text) = brought.filter(|_| qos.tells_positions()) {
        return Ok(Bookmark::Position(text));
    }
    let resumes = qos == Qos::Auto && binding.driver.capabilities().replay && client::names_itself(request);
    if !resumes {
        return Ok(Bookmark::New);
    }
    let identifier = client::identifier(request, caller, client)?;
    Ok(Bookmark::Remembered(identifier))
}

/// The header by which a client of Server-Sent Events says what it has got. An empty one says nothing: such is the
/// id of a client that has not been given any.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("last-event-id").filter(|value| !value.is_empty())?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The parameter of the query that does the same for the other receivers.
pub(crate) fn cursor(request: &Parts) -> Option<String> {
    // A plus sign that the client did not escape has become a space, which is no base64.
    parameter(request.uri.query(), "cursor").map(|text| text.replace(' ', "+"))
}

/// The same, where the promise is kept by positions.
///
/// # Errors
/// 400 where it is not: the client believes that it goes on somewhere.
pub(crate) fn brought(request: &Parts, qos: Qos) -> Result<Option<String>, Refusal> {
    let text = cursor(request);
    if text.is_some() && !qos.tells_positions() {
        return Err(unknown(format!(
            "This API gives no positions to resume from: its qos is '{}'.",
            qos.as_str()
        )));
    }
    Ok(text)
}

/// A client's cursor, at the place that its bookmark says.
///
/// # Errors
/// 400 for a position that is none of these topics or lies beyond their end, unless the API lets such clients
/// begin with what comes; 503 when the broker or the store does not answer.
pub(crate) async fn place(
    binding: &Binding,
    topics: &[Topic],
    bookmark: Bookmark,
    lag: Lag,
    tells_positions: bool,
) -> Result<Placed, Refusal> {
    let join = |begin| {
        let joining = Joining::new(begin, lag).telling_positions(tells_positions);
        binding.hubs.join(&binding.driver, topics, joining)
    };
    let placed = |cursor, has_gap, reader| Placed { cursor, has_gap, reader };
    match bookmark {
        Bookmark::New => Ok(placed(join(binding.begin.clone()).await?, false, None)),
        Bookmark::Position(text) => {
            let unknown = match known(&text, |topic| binding.driver.covers_any(topics, topic)) {
                Ok(position) => match join(Begin::After(position)).await {
                    Err(lost) if lost.kind == ErrorKind::PositionLost => beyond(binding, &lost),
                    joined => return Ok(placed(joined?, false, None)),
                },
                Err(refusal) => refusal,
            };
            match binding.definition.guarantees.unknown_position {
                UnknownPosition::Refuse => Err(unknown),
                UnknownPosition::Latest => Ok(placed(join(Begin::Latest).await?, true, None)),
            }
        }
        Bookmark::Remembered(identifier) => {
            let reader = reader(binding, &identifier).await?;
            let mut has_gap = false;
            if let Some(position) = remembered(binding, &reader).await? {
                match join(Begin::After(position)).await {
                    Err(lost) if lost.kind == ErrorKind::PositionLost => {
                        warn!(api = %binding.api, reader, error = %lost, "A client begins anew, since its position is lost.");
                        has_gap = true;
                    }
                    joined => return Ok(placed(joined?, false, Some(reader))),
                }
            }
            Ok(placed(join(binding.begin.clone()).await?, has_gap, Some(reader)))
        }
    }
}

/// The position that a text stands for, if it is one of these topics. The empty text is given out where nothing
/// was read yet of a topic that had nothing yet: its beginning.
fn known(text: &str, is_read: impl Fn(&Topic) -> bool) -> Result<Position, Refusal> {
    if text.is_empty() {
        return Ok(Position::new());
    }
    let position = Position::decode(text)
        .map_err(|error| unknown(format!("The position to resume from is none of this API. {error}")))?;
    let is_own = position.nexts().all(|(topic, ..)| is_read(topic));
    if !is_own || position.is_empty() {
        let text = "The position to resume from is none of this API: it does not belong to its topics.";
        return Err(unknown(text.to_owned()));
    }
    Ok(position)
}

fn beyond(binding: &Binding, lost: &DriverError) -> Refusal {
    // Its words name topics, which are no client's business.
    tracing::debug!(api = %binding.api, error = %lost, "A client brought a position that the broker does not know.");
    unknown("The position to resume from lies beyond the end of this API's messages.".to_owned())
}

fn unknown(text: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "position.unknown", text)
}

/// The name under which it is stored how far a client has come: one for each broker and each channel, since a position
/// says nothing at another.
async fn reader(binding: &Binding, identifier: &str) -> Result<String, DriverError> {
    let mut broker = binding.driver.identity().await?;
    if let Some(whose) = &binding.whose {
        broker = format!("{broker} as {whose}");
    }
    let reader = match &binding.channel {
        // No channel has this sign in its name, so that no other one with another identifier reads the same.
        Some(channel) => format!("{broker}:{channel}#{identifier}"),
        None => format!("{broker}:{identifier}"),
    };
    Ok(client_reader(&binding.api.0, &reader))
}

/// How far a reader has come, where that is stored.
async fn remembered(binding: &Binding, reader: &str) -> Result<Option<Position>, Refusal> {
    binding.positions.load(reader).await.map_err(|error| {
        warn!(api = %binding.api, reader, %error, "The position of a client cannot be read.");
        let text = "The gateway cannot read where this client has come to. Try again.";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "position.unreadable", text)
    })
}

/// How far a client has come, for whoever goes on there.
pub(crate) enum Progress {
    /// The client itself.
    Remembered(Remembered),
    /// Another one of its group.
    Shared(Confirm),
}

/// How far a client has come that the gateway remembers. Stored when it is told to, and when it ends.
pub(crate) struct Remembered {
    positions: Arc<dyn Positions>,
    api: ApiId,
    reader: String,
    position: Position,
    is_stored: bool,
}

impl Progress {
    /// The client of this name begins behind this position.
    pub(crate) fn new(binding: &Binding, reader: String, position: Position) -> Self {
        let (positions, api) = (Arc::clone(&binding.positions), binding.api.clone());
        Self::Remembered(Remembered { positions, api, reader, position, is_stored: false })
    }

    /// The client does not get the message at this place again.
    pub(crate) fn pass(&mut self, place: &Place) {
        match self {
            Self::Remembered(remembered) => {
                remembered.position.advance(place);
                remembered.is_stored = false;
            }
            Self::Shared(confirm) => confirm.done(place),
        }
    }

    /// A policy ended the stream at the message of this place. Its client meets it again; a group does not, as one
    /// member after the other would end by it.
    pub(crate) fn fail(&self, place: &Place) {
        if let Self::Shared(confirm) = self {
            confirm.done(place);
        }
    }

    /// The client goes on behind this position, whatever it has missed before.
    pub(crate) fn jump(&mut self, position: &Position) {
        if let Self::Remembered(remembered) = self {
            remembered.position.merge(position);
            remembered.is_stored = false;
        }
    }

    /// Stores the position, unless it is.
    pub(crate) fn store(&mut self) {
        if let Self::Remembered(remembered) = self {
            remembered.store();
        }
    }
}

impl Remembered {
    fn store(&mut self) {
        if !std::mem::replace(&mut self.is_stored, true) {
            save_soon(&*self.positions, &self.api, &self.reader, self.position.clone());
        }
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.store();
    }
}

/// When a client that has to come again should, in milliseconds: from 1 to 30 seconds, different for each, so that
/// a restart is not followed by all clients at the same moment.
pub(crate) fn reconnect_delay_ms() -> u64 {
    1000 + RandomState::new().hash_one(()) % 29_000
}

/// Stores how far a reader has come, within a moment.
pub(crate) fn remember(binding: &Binding, reader: &str, position: Position) {
    save_soon(&*binding.positions, &binding.api, reader, position);
}

fn save_soon(positions: &dyn Positions, api: &ApiId, reader: &str, position: Position) {
    if let Err(error) = positions.save_soon(reader, position) {
        warn!(%api, reader, %error, "The position of a client cannot be stored; it will get the same messages again.");
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::{self, Bench};

    fn topics() -> [Topic; 2] {
        ["t".into(), "u".into()]
    }

    /// Those, and all whose names begin with `v`.
    fn is_read(topic: &Topic) -> bool {
        topics().contains(topic) || topic.as_str().starts_with('v')
    }

    #[test]
    fn a_position_is_known_by_its_topics() {
        let read = |plain: &str| known(&plain.parse::<Position>().unwrap().encode(), is_read);
        for own in ["t@0#1", "t@0#-1;u@3#2", "u@0#0", "v1@0#1;v2@0#0"] {
            assert_eq!(read(own).unwrap(), own.parse().unwrap(), "{own}");
        }
        for foreign in ["other@0#1", "t@0#1;other@0#1"] {
            assert_eq!(read(foreign).unwrap_err().code, "position.unknown", "{foreign}");
        }
        assert_eq!(known("", is_read).unwrap(), Position::new(), "the beginning");
    }

    #[test]
    fn a_plus_sign_that_was_not_escaped_is_one() {
        let asked =
            |query: &str| cursor(&http::Request::get(format!("/a?{query}")).body(()).unwrap().into_parts().0);
        assert_eq!(asked("cursor=a+b%2Bc%3D").as_deref(), Some("a+b+c="));
        assert_eq!((asked(""), asked("cursor=")), (None, Some(String::new())));
    }

    #[tokio::test]
    async fn progress_is_stored_when_it_is_told_and_when_it_ends() {
        let binding = testing::binding_of(&json!({}));
        let at = |offset: u64| format!("t@0#{offset}").parse::<Position>().unwrap();
        let stored = async || binding.positions.load("client:a:me").await.unwrap();
        let mut progress = Progress::new(&binding, "client:a:me".to_owned(), at(1));
        progress.jump(&at(3));
        assert_eq!(stored().await, None);
        progress.store();
        assert_eq!(stored().await, Some(at(3)));
        let place =
            Place { topic: "t".into(), partition: Default::default(), offset: sluice_message::Offset(4) };
        progress.pass(&place);
        drop(progress);
        assert_eq!(stored().await, Some(at(4)));
    }

    #[tokio::test]
    async fn progress_that_is_stored_is_not_written_over_what_came_later() {
        let binding = testing::binding_of(&json!({}));
        let position: Position = "t@0#1".parse().unwrap();
        let mut former = Progress::new(&binding, "client:a:me".to_owned(), position.clone());
        former.store();
        let later: Position = "t@0#9".parse().unwrap();
        binding.positions.save("client:a:me", later.clone()).await.unwrap();
        drop(former);
        assert_eq!(binding.positions.load("client:a:me").await.unwrap(), Some(later));
    }

    #[tokio::test]
    async fn a_remembered_position_that_is_lost_is_a_gap() {
        let bench = Bench::new(8, &json!({}));
        let position: Position = "t@0#7".parse().unwrap();
        let reader = reader(&bench.binding, "me").await.unwrap();
        bench.binding.positions.save(&reader, position).await.unwrap();
        let me = Bookmark::Remembered("me".to_owned());
        let placed = place(&bench.binding, &topics(), me, Lag::Skip, false).await.unwrap();
        assert!(placed.has_gap && placed.reader == Some(reader));
    }

    #[tokio::test]
    async fn a_remembered_position_is_never_applied_at_another_broker() {
        let (one, other) = (Bench::new(8, &json!({})), Bench::new(8, &json!({})));
        for bench in [&one, &other] {
            for _ in 0..3 {
                bench.publish("t", "x").await;
            }
        }
        let position: Position = "t@0#0;u@0#-1".parse().unwrap();
        let reader = reader(&one.binding, "me").await.unwrap();
        one.binding.positions.save(&reader, position.clone()).await.unwrap();
        let elsewhere = Binding {
            driver: Arc::clone(&other.binding.driver),
            positions: Arc::clone(&one.binding.positions),
            ..testing::binding_of(&json!({}))
        };
        let begins = async |binding: &Binding| {
            let me = Bookmark::Remembered("me".to_owned());
            place(binding, &topics(), me, Lag::CatchUp, false).await.unwrap().cursor.position()
        };
        assert_eq!(begins(&elsewhere).await, "t@0#2;u@0#-1".parse().unwrap());
        assert_eq!(begins(&one.binding).await, position);
    }

    #[tokio::test]
    async fn a_position_of_one_channel_is_neither_remembered_nor_taken_in_another() {
        let bench = Bench::new(8, &json!({}));
        for topic in ["t", "u"] {
            bench.publish(topic, "x").await;
            bench.publish(topic, "y").await;
        }
        let [one, other] = [("prices", "t"), ("orders", "u")].map(|(channel, topic)| {
            let topics = vec![Topic::from(topic)];
            let binding = Binding {
                channel: Some(channel.into()),
                driver: Arc::clone(&bench.binding.driver),
                positions: Arc::clone(&bench.binding.positions),
                begin: Begin::Earliest,
                ..testing::binding_of(&json!({}))
            };
            (binding, topics)
        });
        let readers = async |binding| reader(binding, "me").await.unwrap();
        assert_ne!(readers(&one.0).await, readers(&other.0).await);
        assert_ne!(readers(&one.0).await, readers(&bench.binding).await);
        let position: Position = "t@0#0".parse().unwrap();
        remember(&one.0, &readers(&one.0).await, position.clone());
        let begins = async |(binding, topics): &(Binding, Vec<Topic>), bookmark| {
            let placed = place(binding, topics, bookmark, Lag::CatchUp, true).await;
            placed.map(|placed| (placed.cursor.position(), placed.has_gap))
        };
        let me = || Bookmark::Remembered("me".to_owned());
        assert_eq!(begins(&one, me()).await.unwrap(), (position.clone(), false));
        let fresh = begins(&other, me()).await.unwrap();
        assert!(!fresh.1 && fresh.0.nexts().all(|(topic, ..)| topic.as_str() == "u"), "{fresh:?}");
        let brought = || Bookmark::Position(position.encode());
        assert_eq!(begins(&one, brought()).await.unwrap().0, position);
        assert_eq!(begins(&other, brought()).await.unwrap_err().code, "position.unknown");
    }

    /// Header values that look like positions more or less, and others that do not.
    fn header_values() -> impl Strategy<Value = Vec<u8>> {
        let shaped = "[tuo@#,;%0-9-]{0,16}|[tu]@[01]#-?[0-9]{1,19}(;u@0#[0-9])?";
        let encoded = shaped
            .prop_map(|text| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, text).into_bytes());
        prop_oneof![prop::collection::vec(any::<u8>(), 0..64), encoded]
    }

    #[test]
    fn whatever_a_client_brings_is_a_place_of_the_api_or_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bench = Bench::new(8, &json!({}));
        runtime.block_on(async {
            for _ in 0..3 {
                bench.publish("t", "x").await;
            }
        });
        proptest!(|(value in header_values())| {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("last-event-id"), value)]);
            let Some(text) = last_event_id(&headers) else { return Ok(()) };
            let topics = topics();
            let placing = place(&bench.binding, &topics, Bookmark::Position(text), Lag::CatchUp, true);
            match runtime.block_on(placing) {
                Ok(placed) => {
                    let position = placed.cursor.position();
                    prop_assert!(position.nexts().all(|(topic, ..)| topics.contains(topic)));
                }
                Err(refusal) => {
                    prop_assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, "position.unknown"));
                }
            }
        });
    }
}
