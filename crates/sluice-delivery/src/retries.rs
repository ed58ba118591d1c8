//! What a restart has to know of the calls of one subscription that did not succeed: which messages are tried
//! again, how often they were and when they will be, and how its circuit stands. Kept as one note.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sluice_api::SubscriptionId;
use sluice_message::{Offset, Partition, Place, Topic};
use sluice_stream::{Notes, NotesError};
use tracing::warn;

use crate::clock::{millis, now_ms};

/// Messages in retry that are remembered. Those beyond, which only a subscription has that does not keep the
/// order of all, begin anew after a restart.
const REMEMBERED: usize = 64;

/// The retries of one subscription.
pub(crate) struct Retries {
    notes: Arc<dyn Notes>,
    name: String,
    kept: Mutex<Kept>,
}

/// Which message: its place, in the dead letters or in what the API brings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Which {
    pub(crate) letter: bool,
    pub(crate) place: Place,
}

/// How the tries of a message stand. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tried {
    /// Calls that count.
    pub(crate) attempts: u32,
    /// When it is tried next.
    pub(crate) next: u64,
    /// How long that wait is in all.
    wait: u64,
}

/// How a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Circuit {
    /// Failed calls in a row while it is closed.
    #[serde(default)]
    pub(crate) failures: u32,
    /// Where it is open.
    #[serde(default)]
    pub(crate) open: Option<Opened>,
}

/// Since a circuit is open. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Since 1970, when one call may try.
    pub(crate) until: u64,
    /// How long it stays open this time, without jitter.
    pub(crate) wait: u64,
}

#[derive(Debug, Default)]
struct Kept {
    tried: BTreeMap<Which, Tried>,
    circuit: Circuit,
    /// Whether there is a note.
    noted: bool,
}

/// The note as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    #[serde(default)]
    messages: Vec<Noted>,
    #[serde(default)]
    circuit: Circuit,
}

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    #[serde(default)]
    letter: bool,
    topic: String,
    partition: u32,
    offset: u64,
    #[serde(flatten)]
    tried: Tried,
}

impl Retries {
    /// Nothing is known yet.
    pub(crate) fn new(notes: &Arc<dyn Notes>, id: &SubscriptionId) -> Arc<Self> {
        Arc::new(Self { notes: Arc::clone(notes), name: format!("retry:{id}"), kept: Mutex::default() })
    }

    /// Reads what an earlier process has noted.
    pub(crate) async fn load(&self) -> Result<(), NotesError> {
        let Some(text) = self.notes.read(&self.name).await? else { return Ok(()) };
        let note: Note = serde_json::from_str(&text).unwrap_or_else(|error| {
            warn!(note = self.name, %error, "What was noted of retries cannot be read; they begin anew.");
            Note::default()
        });
        let tried = note.messages.into_iter().take(REMEMBERED).map(|noted| {
            let place = Place {
                topic: Topic::from(noted.topic),
                partition: Partition(noted.partition),
                offset: Offset(noted.offset),
            };
            (Which { letter: noted.letter, place }, noted.tried)
        });
        *self.kept() = Kept { tried: tried.collect(), circuit: note.circuit, noted: true };
        Ok(())
    }

    /// How often a message was tried, and how long to wait before it is again: never longer than one whole wait,
    /// also where the clock was put back.
    pub(crate) fn of(&self, which: &Which) -> (u32, Duration) {
        self.kept().tried.get(which).map_or((0, Duration::ZERO), |tried| {
            (tried.attempts, Duration::from_millis(tried.next.saturating_sub(now_ms()).min(tried.wait)))
        })
    }

    /// A message was tried so often, and will be again after this wait.
    pub(crate) fn put(&self, which: &Which, attempts: u32, wait: Duration) {
        let mut kept = self.kept();
        if kept.tried.len() < REMEMBERED || kept.tried.contains_key(which) {
            let wait = millis(wait);
            kept.tried.insert(which.clone(), Tried { attempts, next: now_ms().saturating_add(wait), wait });
            self.note(&mut kept);
        }
    }

    /// A message is dealt with.
    pub(crate) fn done(&self, which: &Which) {
        let mut kept = self.kept();
        if kept.tried.remove(which).is_some() {
            self.note(&mut kept);
        }
    }

    /// Forgets the messages that will not come again: `comes` says which do.
    pub(crate) fn retain(&self, comes: impl Fn(&Which) -> bool) {
        let mut kept = self.kept();
        let before = kept.tried.len();
        kept.tried.retain(|which, _| comes(which));
        if kept.tried.len() < before {
            self.note(&mut kept);
        }
    }

    /// Forgets all messages, and the circuit.
    pub(crate) fn clear(&self) {
        let mut kept = self.kept();
        if kept.noted {
            kept.tried.clear();
            kept.circuit = Circuit::default();
            self.note(&mut kept);
        }
    }

    /// How the circuit stands.
    pub(crate) fn circuit(&self) -> Circuit {
        self.kept().circuit
    }

    /// The circuit has changed.
    pub(crate) fn set_circuit(&self, circuit: Circuit) {
        let mut kept = self.kept();
        if kept.circuit != circuit {
            kept.circuit = circuit;
            self.note(&mut kept);
        }
    }

    /// How the message stands that is tried next.
    pub(crate) fn next(&self) -> Option<Tried> {
        self.kept().tried.values().min_by_key(|tried| tried.next).copied()
    }

    /// Writes what there is; nothing when all is well.
    fn note(&self, kept: &mut Kept) {
        let messages = kept.tried.iter().map(|(which, tried)| Noted {
            letter: which.letter,
            topic: which.place.topic.as_str().to_owned(),
            partition: which.place.partition.0,
            offset: which.place.offset.0,
            tried: *tried,
        });
        let note = Note { messages: messages.collect(), circuit: kept.circuit };
        kept.noted = !note.messages.is_empty() || note.circuit != Circuit::default();
        let text = kept.noted.then(|| serde_json::to_string(&note)).transpose();
        let written = text
            .map_err(|error| error.to_string())
            .and_then(|text| self.notes.write_soon(&self.name, text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            warn!(note = self.name, error, "Retries could not be noted; after a restart they begin anew.");
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use sluice_stream::MemoryNotes;

    use super::*;

    fn which(offset: u64) -> Which {
        let place = Place { topic: Topic::from("t"), partition: Partition(0), offset: Offset(offset) };
        Which { letter: false, place }
    }

    fn retries(notes: &Arc<dyn Notes>) -> Arc<Retries> {
        Retries::new(notes, &SubscriptionId("s".to_owned()))
    }

    #[tokio::test]
    async fn another_process_finds_attempts_and_waits_and_nothing_when_all_is_well() {
        let notes: Arc<dyn Notes> = Arc::new(MemoryNotes::default());
        let former = retries(&notes);
        former.put(&which(5), 2, Duration::from_secs(3600));
        let circuit = Circuit { failures: 0, open: Some(Opened { until: 7, wait: 9 }) };
        former.set_circuit(circuit);
        let latter = retries(&notes);
        latter.load().await.unwrap();
        let (attempts, wait) = latter.of(&which(5));
        assert!(attempts == 2 && wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600));
        assert_eq!((latter.circuit(), latter.of(&which(6))), (circuit, (0, Duration::ZERO)));
        latter.done(&which(5));
        assert!(notes.read("retry:s").await.unwrap().is_some());
        latter.set_circuit(Circuit::default());
        assert_eq!(notes.read("retry:s").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_clock_that_was_put_back_costs_one_whole_wait_at_the_most() {
        let notes: Arc<dyn Notes> = Arc::new(MemoryNotes::default());
        let far = now_ms() + 1_000_000_000;
        let noted = format!(
            r#"{{"messages":[{{"topic":"t","partition":0,"offset":5,"attempts":1,"next":{far},"wait":4000}}]}}"#
        );
        notes.write("retry:s", noted, None).await.unwrap();
        let retries = retries(&notes);
        retries.load().await.unwrap();
        assert_eq!(retries.of(&which(5)), (1, Duration::from_secs(4)));
    }

    #[tokio::test]
    async fn a_note_that_cannot_be_read_has_retries_begin_anew() {
        let notes: Arc<dyn Notes> = Arc::new(MemoryNotes::default());
        notes.write("retry:s", "{".to_owned(), None).await.unwrap();
        let retries = retries(&notes);
        retries.load().await.unwrap();
        assert_eq!((retries.next(), retries.circuit()), (None, Circuit::default()));
    }

    #[test]
    fn so_many_messages_are_remembered_and_no_more() {
        let notes: Arc<dyn Notes> = Arc::new(MemoryNotes::default());
        let retries = retries(&notes);
        for offset in 0..=REMEMBERED as u64 {
            retries.put(&which(offset), 1, Duration::ZERO);
        }
        assert_eq!(retries.kept().tried.len(), REMEMBERED);
        retries.put(&which(0), 2, Duration::ZERO);
        assert_eq!(retries.of(&which(0)).0, 2);
        retries.retain(|which| which.place.offset.0 > 62);
        assert_eq!(retries.kept().tried.len(), 1);
    }
}
