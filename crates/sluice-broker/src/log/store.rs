//! The key-value store under the log: which keyspaces there are and what stands in them.
//!
//! `chunks` holds the messages of all topics, `topics` the number and the first kept offset of each topic,
//! `groups` the positions of groups, `log` the id of the log itself. Everything here blocks and belongs on a
//! thread that may.

use std::{collections::HashMap, ops::Range, path::Path};

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    config::{FilterPolicy, FilterPolicyEntry},
};
use sluice_message::{Message, Offset, Partition, Place, Topic};
use uuid::Uuid;

use super::{
    chunk::{self, ChunkKey, TopicNumber},
    record::{self, Corrupt},
};
use crate::{BatchLimit, DriverError, ErrorKind};

/// Small, so that an idle gateway is small: readers at the end of a topic find their messages in the write
/// buffer, and others read in order, which a cache helps little.
const CACHE_BYTES: u64 = 1 << 20;
const WRITE_BUFFER_BYTES: u64 = 4 << 20;
/// The least that the store allows. Bounds how much is read again at an opening.
const JOURNAL_BYTES: u64 = 64 << 20;
/// With two, one of them would spin while the other merges files.
const WORKERS: usize = 1;

const CHUNKS: &str = "chunks";
const TOPICS: &str = "topics";
const GROUPS: &str = "groups";
const LOG: &str = "log";
/// In the keyspace of the log itself.
const ID: &str = "id";

/// The open store.
pub(super) struct Store {
    database: Database,
    chunks: Keyspace,
    groups: Keyspace,
    topics: Keyspace,
    log: Keyspace,
    numbers: HashMap<Topic, TopicNumber>,
}

/// Which offsets of a topic there are, and the sum of bytes of all chunks before the first and before the
/// end, counted since the topic was made or was last empty at an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) bytes_at_start: u64,
    pub(super) bytes_at_end: u64,
}

/// Changes that are written together or not at all.
pub(super) struct Changes(fjall::OwnedWriteBatch);

impl Store {
    /// Opens the store in this directory, which is made if it is missing.
    pub(super) fn open(directory: &Path) -> Result<Self, DriverError> {
        let failed = |error| match error {
            fjall::Error::Locked => DriverError::new(
                ErrorKind::Configuration,
                format!("The log in {} is in use by another process.", directory.display()),
            ),
            error => storage(format_args!("The log in {} cannot be opened", directory.display()), &error),
        };
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES)
            .open()
            .map_err(failed)?;
        let open =
            |name: &str, options: KeyspaceCreateOptions| database.keyspace(name, || options).map_err(failed);
        let chunks = open(CHUNKS, chunk_options())?;
        let (topics, groups) = (open(TOPICS, small_options())?, open(GROUPS, small_options())?);
        let log = open(LOG, small_options())?;
        let mut store = Self { database, chunks, groups, topics, log, numbers: HashMap::new() };
        for entry in store.topics.iter() {
            let (name, value) = entry.into_inner().map_err(failed)?;
            let (name, (number, _)) = str::from_utf8(&name)
                .ok()
                .zip(topic_entry(&value))
                .ok_or_else(|| unreadable(format_args!("a topic: {name:02x?} = {value:02x?}")))?;
            store.numbers.insert(Topic::from(name), number);
        }
        Ok(store)
    }

    /// The id of the log, which no other has and which goes with its directory. Made when it is first asked
    /// for, and durable when it is answered.
    pub(super) fn id(&self) -> Result<String, DriverError> {
        let failed = |error| storage("The id of the log cannot be read or made", &error);
        if let Some(id) = self.log.get(ID).map_err(failed)? {
            return String::from_utf8(id.to_vec()).map_err(|_| unreadable(format_args!("its id: {id:02x?}")));
        }
        let id = Uuid::new_v4().to_string();
        self.log.insert(ID, id.as_str()).map_err(failed)?;
        self.sync()?;
        Ok(id)
    }

    /// The topics that there are.
    pub(super) fn topics(&self) -> impl ExactSizeIterator<Item = &Topic> {
        self.numbers.keys()
    }

    /// Makes a topic unless it exists. It exists durably once a message of it does.
    pub(super) fn create_topic(&mut self, topic: &Topic) -> Result<(), DriverError> {
        if self.numbers.contains_key(topic) {
            return Ok(());
        }
        let number = self.numbers.values().max().map_or(0, |last| last + 1);
        self.topics
            .insert(topic.as_str(), topic_value(number, 0))
            .map_err(|error| storage(format_args!("The topic {topic} cannot be made in the log"), &error))?;
        self.numbers.insert(topic.clone(), number);
        Ok(())
    }

    /// What the store holds of a topic.
    pub(super) fn extent(&self, topic: &Topic) -> Result<Extent, DriverError> {
        let entry = self.topics.get(topic.as_str()).map_err(|error| storage(cannot_read(topic), &error))?;
        let entry = entry.ok_or_else(|| no_topic(topic))?;
        let (_, start) = topic_entry(&entry).ok_or_else(|| unreadable(format_args!("the topic {topic}")))?;
        // Never from the very first key: what retention deleted may lie there as markers still.
        let mut chunks = self.chunks(topic, start)?;
        let Some(first) = chunks.next().transpose()? else {
            return Ok(Extent { start, end: start, ..Extent::default() });
        };
        let last = chunks.next_back().transpose()?.unwrap_or(first);
        Ok(Extent {
            start: first.first,
            end: last.end(),
            bytes_at_start: first.bytes_before,
            bytes_at_end: last.bytes_at_end(),
        })
    }

    /// Appends the messages of these offsets to `batch` up to the limit, the first even when it is larger.
    /// No chunk that begins before `start` is looked at. After an error `batch` has what came before it.
    pub(super) fn read(
        &self,
        topic: &Topic,
        start: u64,
        offsets: Range<u64>,
        limit: BatchLimit,
        batch: &mut Vec<Message>,
    ) -> Result<(), DriverError> {
        let number = self.number(topic)?;
        let mut bytes: usize = batch.iter().map(Message::size).sum();
        let mut next = offsets.start;
        let before = chunk::keys(number, start..next.saturating_add(1));
        let holder = self.chunks.range(before).next_back().map(|holder| key_of(holder, topic)).transpose()?;
        let first = holder.map_or(next, |holder| holder.first);
        for entry in self.chunks.range(chunk::keys(number, first..offsets.end)) {
            let (key, value) = entry.into_inner().map_err(|error| storage(cannot_read(topic), &error))?;
            let key = ChunkKey::decode(&key).ok_or_else(|| unreadable(format_args!("a chunk of {topic}")))?;
            if !(key.first..key.end()).contains(&next) {
                break;
            }
            let records = chunk::records(&value).map_err(|error| corrupt(topic, key.first, &error))?;
            for (offset, record) in (key.first..key.end().min(offsets.end)).zip(records) {
                let record = record.map_err(|error| corrupt(topic, offset, &error))?;
                if offset < next {
                    continue;
                }
                let place = Place { topic: topic.clone(), partition: Partition(0), offset: Offset(offset) };
                let message = record::decode(record, place, key.appended_ms)
                    .map_err(|error| corrupt(topic, offset, &error))?;
                bytes = bytes.saturating_add(message.size());
                if !batch.is_empty() && (bytes > limit.bytes || batch.len() >= limit.messages) {
                    return Ok(());
                }
                batch.push(message);
                next = offset + 1;
            }
        }
        if next == offsets.start {
            let text = format!("The log has no record at offset {next} of the topic {topic}.");
            return Err(DriverError::new(ErrorKind::Storage, text));
        }
        Ok(())
    }

    /// The chunks of a topic whose first message is at `start` or behind it. Reads no message.
    pub(super) fn chunks(
        &self,
        topic: &Topic,
        start: u64,
    ) -> Result<impl DoubleEndedIterator<Item = Result<ChunkKey, DriverError>>, DriverError> {
        let keys = chunk::keys(self.number(topic)?, start..u64::MAX);
        let topic = topic.clone();
        Ok(self.chunks.range(keys).map(move |entry| key_of(entry, &topic)))
    }

    /// Every group's position: topic, group name, the first offset that is not committed.
    pub(super) fn group_positions(&self) -> Result<Vec<(Topic, String, u64)>, DriverError> {
        let read = |(key, value): fjall::KvPair| {
            let (topic, group) = str::from_utf8(&key).ok()?.split_once('\0')?;
            Some((Topic::from(topic), group.to_owned(), u64::from_be_bytes((*value).try_into().ok()?)))
        };
        let entries = self.groups.iter().map(|entry| {
            let entry = entry
                .into_inner()
                .map_err(|error| storage("The groups of the log cannot be read", &error))?;
            read(entry)
                .ok_or_else(|| DriverError::new(ErrorKind::Storage, "A group of the log is unreadable."))
        });
        entries.collect()
    }

    /// Changes to write together.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.database.batch())
    }

    /// Adds a chunk.
    pub(super) fn put_chunk(&self, changes: &mut Changes, key: &ChunkKey, value: Vec<u8>) {
        changes.0.insert(&self.chunks, key.encode(), value);
    }

    /// Deletes these chunks and records that the topic starts at `start`.
    pub(super) fn cut(
        &self,
        changes: &mut Changes,
        topic: &Topic,
        start: u64,
        chunks: &[ChunkKey],
    ) -> Result<(), DriverError> {
        changes.0.insert(&self.topics, topic.as_str(), topic_value(self.number(topic)?, start));
        for chunk in chunks {
            changes.0.remove(&self.chunks, chunk.encode());
        }
        Ok(())
    }

    /// Records how far a group has come.
    pub(super) fn put_group(&self, changes: &mut Changes, topic: &Topic, group: &str, next: u64) {
        changes.0.insert(&self.groups, format!("{topic}\0{group}"), next.to_be_bytes());
    }

    /// Writes the changes, all or none, and shows them to readers. Their last bytes may still lie in a buffer
    /// of this process: only [`Store::sync`] makes sure that they survive its end, or a power cut.
    pub(super) fn write(&self, changes: Changes) -> Result<(), DriverError> {
        changes.0.commit().map_err(|error| storage("The log cannot be written", &error))
    }

    /// Waits until everything written is on the disk.
    pub(super) fn sync(&self) -> Result<(), DriverError> {
        self.database
            .persist(PersistMode::SyncData)
            .map_err(|error| storage("The disk did not confirm what the log wrote", &error))
    }

    /// The number by which keys name the topic.
    pub(super) fn number(&self, topic: &Topic) -> Result<TopicNumber, DriverError> {
        self.numbers.get(topic).copied().ok_or_else(|| no_topic(topic))
    }
}

/// For messages: values lie in files of their own, which merging does not rewrite. Nothing is looked up by a
/// key that may be missing, so that filters would be memory for nothing.
fn chunk_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(WRITE_BUFFER_BYTES)
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::None))
        .with_kv_separation(Some(KvSeparationOptions::default()))
}

fn small_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(WRITE_BUFFER_BYTES)
}

fn topic_value(number: TopicNumber, start: u64) -> Vec<u8> {
    [&number.to_be_bytes()[..], &start.to_be_bytes()].concat()
}

fn topic_entry(value: &[u8]) -> Option<(TopicNumber, u64)> {
    let (number, start) = value.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), u64::from_be_bytes(start.try_into().ok()?)))
}

fn key_of(entry: fjall::Guard, topic: &Topic) -> Result<ChunkKey, DriverError> {
    let key = entry.key().map_err(|error| storage(cannot_read(topic), &error))?;
    ChunkKey::decode(&key).ok_or_else(|| unreadable(format_args!("a chunk of the topic {topic}: {key:02x?}")))
}

fn cannot_read(topic: &Topic) -> String {
    format!("The topic {topic} cannot be read")
}

fn no_topic(topic: &Topic) -> DriverError {
    DriverError::new(ErrorKind::NoTopic, format!("The log holds no topic {topic}."))
}

fn storage(what: impl std::fmt::Display, error: &fjall::Error) -> DriverError {
    DriverError::new(ErrorKind::Storage, format!("{what}: {error}."))
}

fn corrupt(topic: &Topic, offset: u64, error: &Corrupt) -> DriverError {
    let text = format!("The record at offset {offset} of the topic {topic} is corrupt: {error}.");
    DriverError::new(ErrorKind::Storage, text)
}

fn unreadable(what: std::fmt::Arguments<'_>) -> DriverError {
    DriverError::new(ErrorKind::Storage, format!("The log holds an entry that it cannot read, {what}."))
}
