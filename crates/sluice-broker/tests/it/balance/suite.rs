//! The driver suite against a group whose second log stands in for the first: what a driver promises, a group does.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::Balancing;
use sluice_broker::{BrokerDriver, LogOptions, conformance::Subject, conformance_suite};
use sluice_message::Topic;
use tempfile::TempDir;

use super::{Pair, directories};

struct GroupSubject {
    directories: [TempDir; 2],
    topics: AtomicUsize,
}

impl GroupSubject {
    fn new() -> Self {
        Self { directories: directories(), topics: AtomicUsize::new(0) }
    }
}

impl Subject for GroupSubject {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        async {
            Arc::new(Pair::open(&self.directories, Balancing::RoundRobin, true).group)
                as Arc<dyn BrokerDriver>
        }
        .boxed()
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        let number = self.topics.fetch_add(1, Ordering::SeqCst);
        async move { Topic::from(format!("{name}-{number}")) }.boxed()
    }

    /// One at each broker.
    fn partitions(&self) -> usize {
        2
    }

    fn missing_topic(&self) -> Topic {
        Topic::from("missing")
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        LogOptions::default().max_message_bytes + 1
    }
}

conformance_suite!(GroupSubject::new());
