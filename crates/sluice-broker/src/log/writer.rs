//! The one thread that writes: takes what is queued, writes it in one piece, waits for the disk once, and
//! tells everybody.
//!
//! A disk that refuses to be written (because it is full, say) fails what was to be written and nothing else:
//! reading goes on, and the log is opened anew as soon as the disk takes bytes again. A disk that does not
//! confirm what it took is not trusted again before a restart.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use sluice_message::{Message, Topic};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::{
    Shared, TopicLog,
    chunk::{ChunkBuilder, ChunkKey},
    groups::Seat,
    retention::Retention,
    store::{Changes, Extent, Store},
};
use crate::DriverError;

/// What is written in one piece at the most, so that the first of a crowd does not wait for the last.
const BATCH_JOBS: usize = 2_000;
const BATCH_BYTES: usize = 4 << 20;
/// How long to leave a disk alone that refused to be written.
const REST: Duration = Duration::from_secs(1);

/// Something to write.
pub(super) struct Job {
    pub(super) work: Work,
    /// Given back when the job is done: the bound on what is queued.
    pub(super) permits: [Option<OwnedSemaphorePermit>; 2],
    /// Told the offset of the first message, or where a group stands, once that is on the disk.
    pub(super) done: oneshot::Sender<Result<u64, DriverError>>,
}

pub(super) enum Work {
    Append {
        topic: Arc<TopicLog>,
        message: Message,
    },
    /// Several messages, all or none.
    AppendAll {
        topic: Arc<TopicLog>,
        messages: Vec<Message>,
    },
    Commit {
        seat: Arc<Seat>,
        next: u64,
    },
    /// Deletes one piece of what lies before an offset; told how many chunks that were.
    Trim {
        topic: Arc<TopicLog>,
        before: u64,
    },
    /// The last job.
    End,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    ending: watch::Sender<bool>,
    health: Health,
    retention: Retention,
}

/// Whether the store takes writes.
enum Health {
    Good,
    /// It refused one; to be opened anew, not before this time.
    Broken {
        error: DriverError,
        rest_until: Instant,
    },
    /// The disk did not confirm what it took.
    Untrusted(DriverError),
}

/// The topics that a batch appended to, as far as they go now.
type Grown = Vec<(Arc<TopicLog>, Extent)>;

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: Receiver<Job>, ending: watch::Sender<bool>) -> Self {
        let retention = Retention::new(&shared.options);
        Self { shared, jobs, ending, health: Health::Good, retention }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.jobs.recv_timeout(self.retention.idle_time()) {
                Ok(job) => {
                    let (batch, is_last) = self.gather(job);
                    self.settle(batch);
                    if is_last {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.retain();
        }
        self.shared.close_store();
        self.ending.send_replace(true);
    }

    /// What is queued, up to the bounds of a batch, and whether it ends with the last job.
    fn gather(&self, first: Job) -> (Vec<Job>, bool) {
        let (mut batch, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(job) = next {
            match &job.work {
                Work::Append { message, .. } => bytes += message.size(),
                Work::AppendAll { messages, .. } => {
                    bytes += messages.iter().map(Message::size).sum::<usize>();
                }
                Work::Commit { .. } | Work::Trim { .. } => {}
                Work::End => return (batch, true),
            }
            batch.push(job);
            let is_full = batch.len() >= BATCH_JOBS || bytes >= BATCH_BYTES;
            next = if is_full { None } else { self.jobs.try_recv().ok() };
        }
        (batch, false)
    }

    /// Writes a batch and tells each job what came of it.
    fn settle(&mut self, batch: Vec<Job>) {
        let is_trim = |job: &Job| matches!(job.work, Work::Trim { .. });
        let (trims, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_trim);
        self.settle_appends(batch);
        for Job { work, permits, done } in trims {
            if let Work::Trim { topic, before } = work {
                let deleted = self.trim(&topic, before);
                drop(permits);
                let _ = done.send(deleted);
            }
        }
    }

    fn trim(&mut self, topic: &TopicLog, before: u64) -> Result<u64, DriverError> {
        self.recover()?;
        let deleted = Retention::trim(&self.shared, topic, before);
        deleted.map(|count| count as u64).inspect_err(|error| self.broken(error))
    }

    fn settle_appends(&mut self, batch: Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        match self.write(&batch) {
            Ok((answers, grown)) => {
                for (log, extent) in grown {
                    log.extent.send_replace(extent);
                    self.retention.grown(log, &extent);
                }
                for (job, answer) in batch.into_iter().zip(answers) {
                    drop(job.permits);
                    // Whoever gave up waiting does not hear of it; the message stands all the same.
                    let _ = job.done.send(Ok(answer));
                }
            }
            Err(error) => {
                for job in batch {
                    drop(job.permits);
                    let _ = job.done.send(Err(error.clone()));
                }
            }
        }
    }

    fn write(&mut self, batch: &[Job]) -> Result<(Vec<u64>, Grown), DriverError> {
        self.recover()?;
        let shared = self.shared.clone();
        shared.with_store(|store| {
            let (changes, answers, grown) = prepare(store, batch)?;
            store.write(changes).inspect_err(|error| self.broken(error))?;
            store.sync().inspect_err(|error| {
                tracing::error!("{error} The log takes no message until the gateway is restarted.");
                self.health = Health::Untrusted(error.clone());
            })?;
            Ok((answers, grown))
        })
    }

    fn retain(&mut self) {
        // Even while the store takes no writes: what is too old is not to be read, wherever it still lies.
        let step = self.retention.step(&self.shared);
        if let (Health::Good, Err(error)) = (&self.health, step) {
            self.broken(&error);
        }
    }

    fn broken(&mut self, error: &DriverError) {
        tracing::error!("{error} The log takes no message until its disk does.");
        self.health = Health::Broken { error: error.clone(), rest_until: Instant::now() + REST };
    }

    /// Fails while the store takes no writes; opens it anew once the disk takes bytes again.
    fn recover(&mut self) -> Result<(), DriverError> {
        let error = match &self.health {
            Health::Good => return Ok(()),
            Health::Broken { error, rest_until } if Instant::now() < *rest_until => return Err(error.clone()),
            Health::Untrusted(error) => return Err(error.clone()),
            Health::Broken { error, .. } => error.clone(),
        };
        let reopened = match self.try_disk() {
            Ok(()) => self.shared.reopen_store(),
            Err(_) => Err(error),
        };
        match reopened {
            Ok(()) => {
                tracing::info!("The disk takes bytes again, and so does the log.");
                self.health = Health::Good;
                Ok(())
            }
            Err(error) => {
                self.health = Health::Broken { error: error.clone(), rest_until: Instant::now() + REST };
                Err(error)
            }
        }
    }

    /// Writes a file and deletes it. The store is not closed for a disk that is still full: readers need it.
    fn try_disk(&self) -> std::io::Result<()> {
        let path = self.shared.directory.join("disk-test");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; BATCH_BYTES])?;
            file.sync_data()
        });
        std::fs::remove_file(&path)?;
        written
    }
}

/// The changes that a batch makes, the answer to each of its jobs, and how topics grow.
fn prepare(store: &Store, batch: &[Job]) -> Result<(Changes, Vec<u64>, Grown), DriverError> {
    let (mut changes, mut answers) = (store.changes(), Vec::with_capacity(batch.len()));
    let mut chunks: BTreeMap<&Topic, (&Arc<TopicLog>, Extent, ChunkBuilder)> = BTreeMap::new();
    for job in batch {
        let (topic, messages) = match &job.work {
            Work::Append { topic, message } => (topic, std::slice::from_ref(message)),
            Work::AppendAll { topic, messages } => (topic, &messages[..]),
            Work::Commit { seat, next } => {
                let next = seat.advance(*next);
                store.put_group(&mut changes, &seat.topic, &seat.group, next);
                answers.push(next);
                continue;
            }
            Work::Trim { .. } | Work::End => continue,
        };
        let begin = || (topic, *topic.extent.borrow(), ChunkBuilder::new());
        let (_, extent, chunk) = chunks.entry(&topic.name).or_insert_with(begin);
        answers.push(extent.end + u64::from(chunk.count()));
        for message in messages {
            chunk.push(message);
        }
    }
    let mut grown = Grown::with_capacity(chunks.len());
    for (log, extent, chunk) in chunks.into_values() {
        let (count, value) = chunk.finish();
        let key = ChunkKey {
            topic: store.number(&log.name)?,
            first: extent.end,
            count,
            // A batch and the largest message are far below 4 GiB.
            length: u32::try_from(value.len()).unwrap_or(u32::MAX),
            appended_ms: now_ms(),
            bytes_before: extent.bytes_at_end,
        };
        grown.push((log.clone(), Extent { end: key.end(), bytes_at_end: key.bytes_at_end(), ..extent }));
        store.put_chunk(&mut changes, &key, value);
    }
    Ok((changes, answers, grown))
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
