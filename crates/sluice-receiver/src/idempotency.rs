//! Publishing once: a POST that comes again with the same `Idempotency-Key`, or with the id of the same delivery of a
//! webhook, is not published again.
//!
//! Keys of publishes under way are known in memory; a publish that the broker has acknowledged is noted in the
//! store before it is answered, so that it is known behind a restart, too. One that fails leaves nothing behind,
//! and neither does one of which nobody can say whether the broker has it: its repeat is published, and the
//! message may then be there twice. Nothing here looks at messages without a key.
//!
//! Source: the IETF draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header).

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use sha2::{Digest, Sha256};
use sluice_api::ApiId;
use sluice_message::Message;
use sluice_policy::Caller;
use sluice_stream::NotesError;
use tokio::time::timeout;
use tracing::warn;

use crate::{Binding, Body, Refusal, hex, publishing::Admitted};

/// The header with the key, on requests.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that says that nothing was published, because it had been before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// Bytes that a publish under a name takes beside its body, so that as few can be under way as there is room for.
pub(crate) const ROOM: usize = 1024;

/// How long the store may take to read or write a note. A disk that hangs must not keep a publisher waiting
/// whose message the broker has.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Seconds after which a repeat may look again whether the publish before it is done.
const RETRY_AFTER: u8 = 1;

/// What became of a message with a key, or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// The broker has acknowledged it.
    Published,
    /// The broker had acknowledged it when it came before.
    Replayed,
}

impl Done {
    /// What the publisher is answered: 202 with an empty body.
    pub(crate) fn answer(self) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::ACCEPTED;
        if self == Self::Replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// The keys of publishes that are under way in a gateway. As many as there are bodies on their way, which are
/// bounded.
#[derive(Debug, Default)]
pub struct KeysInUse(Mutex<HashSet<String>>);

/// A name under which a message is published once.
#[derive(Debug)]
pub(crate) struct Once {
    name: String,
    /// How long the name is remembered.
    window: Duration,
    /// What it is made of, in words for the client.
    made_of: &'static str,
    /// Whether what comes under it again must be the same. An `Idempotency-Key` that is used twice is a mistake of its
    /// client; a delivery is the same by its id, whatever its sender writes into it about the repetition.
    is_compared: bool,
}

impl Once {
    /// For an `Idempotency-Key` of this client.
    pub(crate) fn by_key(binding: &Binding, caller: &Caller, method: &Method, key: &str) -> Self {
        Self {
            name: note_name(binding, caller, method, key),
            window: Duration::from_millis(binding.definition.guarantees.idempotency_window_ms),
            made_of: "Idempotency-Key",
            is_compared: true,
        }
    }

    /// For the delivery with this id to this API and channel, whoever brings it.
    pub(crate) fn by_delivery(binding: &Binding, id: &[u8], window: Duration) -> Self {
        let places = binding.channel.as_deref().into_iter().chain(binding.whose.as_deref());
        let parts = [b"delivery", id].into_iter().chain(places.map(str::as_bytes));
        let name = format!("{}{}", notes_prefix(&binding.api), digest(parts));
        Self { name, window, made_of: "delivery id", is_compared: false }
    }
}

/// A name that nobody else publishes under meanwhile.
struct Claim<'a> {
    keys: &'a KeysInUse,
    name: &'a str,
}

impl KeysInUse {
    fn claim<'a>(&'a self, name: &'a str) -> Option<Claim<'a>> {
        let is_free = self.lock().insert(name.to_owned());
        is_free.then_some(Claim { keys: self, name })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        // The set is whole after any panic: each change of it is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.keys.lock().remove(self.name);
    }
}

/// The key of a request, if it has one: a string of the structured fields (RFC 9651 section 3.3.3), or bare.
///
/// # Errors
/// 400 for a key that is neither, for an empty or a too long one, and for several.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let key = text.map(str::trim).and_then(|text| match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => text.bytes().all(is_bare).then(|| text.to_owned()),
    });
    let key = key.filter(|key| (1..=MAX_KEY).contains(&key.len())).ok_or_else(|| {
        let text = format!(
            "Idempotency-Key must be there once, as 1 to {MAX_KEY} ASCII characters, in quotes or bare."
        );
        Refusal::new(StatusCode::BAD_REQUEST, "idempotency.key", text)
    })?;
    Ok(Some(key))
}

/// The rest of a string in quotes, if nothing follows it.
fn unquoted(quoted: &str) -> Option<String> {
    let mut key = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return rest.as_str().is_empty().then_some(key),
            '\\' => key.push(rest.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            character @ ' '..='~' => key.push(character),
            _ => return None,
        }
    }
}

/// Whether a character may stand in a key without quotes: none that would make a list or parameters of it.
const fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b';')
}

/// The name under which it is noted that a client has published with a key. The same key of another API, of
/// another channel, subscription or plan, or with another method is another name.
fn note_name(binding: &Binding, caller: &Caller, method: &Method, key: &str) -> String {
    let (kind, id) = match caller.subscription() {
        Some(subscription) => ("subscription", &*subscription.id.0),
        None => ("plan", caller.plan().map_or("", |plan| &plan.0)),
    };
    let places = binding.channel.as_deref().into_iter().chain(binding.whose.as_deref());
    let parts = [kind, id, method.as_str(), key].into_iter().chain(places);
    format!("{}{}", notes_prefix(&binding.api), digest(parts.map(str::as_bytes)))
}

/// What the names of all notes of an API's publishers begin with.
pub fn notes_prefix(api: &ApiId) -> String {
    format!("idempotency:{api}:")
}

/// Publishes what the policies made of a message, unless the message was published under one of these names before.
///
/// # Errors
/// 409 while another publish under such a name is under way; 422 where another message was published under a key, or
/// this one elsewhere; 503 when the store cannot say; and those of [`Admitted::publish`].
pub(crate) async fn once(
    binding: &Binding,
    names: &[Once],
    message: &Message,
    admitted: Admitted<'_>,
) -> Result<Done, Refusal> {
    let claims =
        names.iter().map(|once| binding.keys_in_use.claim(&once.name).ok_or_else(|| in_flight(once)));
    let _claims = claims.collect::<Result<Vec<_>, _>>()?;
    let fingerprint = fingerprint(message, &admitted);
    for once in names {
        match noted(binding, &once.name).await? {
            None => {}
            Some(former) if !once.is_compared || former == fingerprint => {
                binding.metrics.replayed.inc();
                return Ok(Done::Replayed);
            }
            Some(_) => return Err(reused()),
        }
    }
    admitted.publish().await?;
    if let Err(error) = note(binding, names, &fingerprint).await {
        binding.metrics.unnoted.inc();
        binding.failures.tell_unnoted(&binding.api, &error);
    }
    Ok(Done::Published)
}

/// What a message is recognized by: its payload and headers as its client sent them, whatever the order of the
/// latter, since policies may change them differently each time; and where it goes, which only policies know.
fn fingerprint(message: &Message, admitted: &Admitted<'_>) -> String {
    let topics = digest(admitted.topics.iter().map(|topic| topic.as_str().as_bytes()));
    let key = digest(admitted.message.key().map(|key| &**key));
    let mut headers: Vec<_> = message.headers().iter().collect();
    headers.sort_by(|one, other| one.name.cmp(&other.name));
    let headers = headers.into_iter().flat_map(|header| [header.name.as_bytes(), &*header.value]);
    let parts = [message.payload(), topics.as_bytes(), key.as_bytes()];
    digest(parts.into_iter().chain(headers))
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        // So that no two lists of parts are the same bytes.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(&digest.finalize())
}

async fn noted(binding: &Binding, name: &str) -> Result<Option<String>, Refusal> {
    let read = timeout(STORE_TIMEOUT, binding.notes.read(name)).await;
    read.unwrap_or_else(|_| Err(too_slow())).map_err(|error| {
        warn!(api = %binding.api, %error, "It cannot be read whether a message was published before.");
        let text = "The gateway cannot tell whether this message was published before; nothing was published. \
                    Try again.";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "idempotency.unreadable", text)
    })
}

/// Remembers that a message was published. Where that fails the publisher is not told: the broker has the message.
async fn note(binding: &Binding, names: &[Once], fingerprint: &str) -> Result<(), NotesError> {
    for Once { name, window, .. } in names {
        let written = binding.notes.write(name, fingerprint.to_owned(), Some(*window));
        timeout(STORE_TIMEOUT, written).await.unwrap_or_else(|_| Err(too_slow()))?;
    }
    Ok(())
}

fn too_slow() -> NotesError {
    NotesError::Store(format!("The store did not answer within {} s.", STORE_TIMEOUT.as_secs()))
}

fn in_flight(once: &Once) -> Refusal {
    let text =
        format!("A message with this {} is on its way to the broker. Try again in a moment.", once.made_of);
    Refusal::new(StatusCode::CONFLICT, "idempotency.in-flight", text).with_retry_after(RETRY_AFTER)
}

fn reused() -> Refusal {
    let text = "Another message, or this one to another place, was published with this Idempotency-Key. Give each \
                message a key of its own.";
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency.reused", text)
}
