//! A consumer's record: what it has seen, judged as it comes and written down for whoever looks into a loss.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    journal::Journal,
    ledger::{Channel, Judgement, Place, Seen},
    record::Record,
};

/// The record of one consumer.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) channel: Arc<Channel>,
    /// What kind of consumer it is, for people.
    pub(crate) name: &'static str,
    pub(crate) journal: Arc<Journal>,
    seen: Mutex<Seen>,
    record: Record,
}

impl Observer {
    /// Writes what it sees to a file of this directory.
    pub(crate) fn new(
        channel: &Arc<Channel>,
        name: &'static str,
        journal: &Arc<Journal>,
        directory: &Path,
    ) -> Result<Arc<Self>, String> {
        let file = format!("seen {} {name}.txt", channel.name).replace(['/', ' '], "-");
        Ok(Arc::new(Self {
            channel: Arc::clone(channel),
            name,
            journal: Arc::clone(journal),
            seen: Mutex::new(Seen::new(channel)),
            record: Record::create(&directory.join(file))?,
        }))
    }

    /// A message came; `bookmark` is what the consumer would resume from.
    pub(crate) fn message(&self, content: &str, bookmark: &str, place: Option<Place>) {
        self.lock().message(&self.channel, content, place);
        self.record.line(&format!("{content} {bookmark} {place:?}"));
    }

    /// The consumer was told that it has missed messages.
    pub(crate) fn gap(&self, told: &str) {
        self.lock().gap();
        self.record.line(&format!("gap: {told}"));
    }

    /// Something else that helps to understand the record, as a connection that ended.
    pub(crate) fn note(&self, text: &str) {
        self.record.line(text);
    }

    /// The gateway does not let the consumer go on from where it was. It would never see the rest.
    pub(crate) fn refused(&self, answer: &str) {
        self.note(answer);
        self.journal.fault(&format!("{} of {} was refused: {answer}", self.name, self.channel.name));
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.lock().is_complete(&self.channel)
    }

    pub(crate) fn judge(&self) -> Judgement {
        self.lock().judge(&self.channel, self.name)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
