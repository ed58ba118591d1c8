//! What a driver's tests tell the suite about their broker.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice_message::Topic;

use crate::{BrokerDriver, ErrorKind};

/// A broker under test.
pub trait Subject: Send + Sync {
    /// A new driver onto the same broker, as a restarted gateway opens it. A case that asks again has closed
    /// and dropped the driver that it had, unless the broker has an [`address`](Self::address).
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>>;

    /// A topic that exists, is empty, has one partition that messages go to, and that no other case and no earlier run
    /// knows.
    /// `name` is to be found in its name, for whoever looks at the broker.
    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic>;

    /// How many partitions such a topic has, with those that nothing goes to.
    fn partitions(&self) -> usize {
        1
    }

    /// A topic that does not exist.
    fn missing_topic(&self) -> Topic;

    /// Whether the broker makes a topic when it is first used. If not, using it must fail with
    /// [`ErrorKind::NoTopic`].
    fn makes_topics(&self) -> bool;

    /// A payload of so many bytes is more than this broker, or this driver, takes.
    fn too_large(&self) -> usize;

    /// Whether values of headers are text on their way through this broker, so that other bytes need not survive.
    fn has_text_headers(&self) -> bool {
        false
    }

    /// How many messages of a group the drivers opened here hand out, at the most, before the first of them is
    /// committed. None where the broker keeps offsets, and withholds nothing.
    fn window(&self) -> Option<usize> {
        None
    }

    /// Where the broker listens, as `host:port`, if its whole protocol goes through one address. The suite puts a
    /// proxy there, which it can cut and freeze. None skips the cases about outages.
    fn address(&self) -> Option<String> {
        None
    }

    /// A new driver onto whatever listens at this address (`host:port`), beside the others, with the settings of
    /// [`driver`](Self::driver) but a publish timeout of about two seconds. It is only asked for where there is an
    /// [`address`](Self::address).
    fn driver_at<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, Arc<dyn BrokerDriver>> {
        self.driver()
    }

    /// Drivers with settings that this broker does not let work: a wrong password, a certificate of another
    /// authority, a topic without permission.
    fn wrong(&self) -> BoxFuture<'_, Vec<Wrong>> {
        Box::pin(async { Vec::new() })
    }
}

/// A driver that cannot do what it is asked.
pub struct Wrong {
    /// What is wrong, for the message of a failed test.
    pub what: &'static str,
    /// The driver.
    pub driver: Arc<dyn BrokerDriver>,
    /// The topic to ask for.
    pub topic: Topic,
    /// What `check` fails with. None where a broker cannot be asked without leaving anything behind, or does not say.
    pub check: Option<ErrorKind>,
    /// What `publish` fails with.
    pub publish: Option<ErrorKind>,
    /// What `consume`, or the reader's first `fetch`, fails with.
    pub consume: Option<ErrorKind>,
}
