//! A connection to publish by, with a link for each address, and what becomes of one message on it.
//!
//! A task has the connection: it attaches links where they are asked for, and notices the end. The library leaves what
//! was under way then without an answer until its link is dropped; so links are dropped with the end, and nobody who
//! waits for an answer holds one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use fe2o3_amqp::{
    Sender,
    link::{SendError, delivery::Sendable},
    types::messaging::Outcome,
};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Message, Topic};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    address::Address,
    broker::{Broker, unique},
    connection::Connection,
    error::{Cause, largest, rejection},
    grants::Grants,
    message,
};

/// Links that may be asked for at a time; who asks for more waits.
const ORDERS: usize = 16;

/// A connection with its links. Dropping it closes the connection.
pub(crate) struct Outlet {
    broker: Arc<Broker>,
    links: Arc<Links>,
    orders: mpsc::Sender<Order>,
    ended: CancellationToken,
}

/// What is asked of the task that has the connection.
enum Order {
    Attach(Topic, oneshot::Sender<Result<Arc<Link>, Cause>>),
    Close(oneshot::Sender<()>),
}

/// The links there are.
#[derive(Default)]
struct Links(Mutex<ByTopic>);

#[derive(Default)]
struct ByTopic {
    links: HashMap<Topic, (Arc<Link>, u64)>,
    uses: u64,
}

/// A sender takes one message at a time and is free again as soon as it is on its way, so that a lock keeps the order
/// of publishers without keeping them from each other's round trips.
type Link = AsyncMutex<Sender>;

/// Why a message was not accepted.
pub(crate) enum Refusal {
    /// By the broker's answer, or by a rule that the message breaks.
    Final(DriverError),
    /// The link or the connection ended before the message was on it.
    Unsent(Cause),
    /// The link or the connection ended with the message on it, unanswered.
    Broken(Cause),
}

impl Outlet {
    /// Connects.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) async fn open(broker: &Arc<Broker>) -> Result<Self, DriverError> {
        let connection = Connection::open(broker, &format!("sluice-{}", unique())).await?;
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (links, ended) = (Arc::<Links>::default(), CancellationToken::new());
        tokio::spawn(tend(broker.clone(), connection, ordered, links.clone(), ended.clone()));
        Ok(Self { broker: broker.clone(), links, orders, ended })
    }

    /// Becomes cancelled with the end of the connection, or when it is given up.
    pub(crate) const fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Sends a message and waits for the broker's answer.
    pub(crate) async fn send(
        &self,
        grants: &Grants,
        topic: &Topic,
        message: &Message,
    ) -> Result<(), Refusal> {
        let (size, most) = (message.payload().len(), self.broker.largest());
        if size > most {
            let text = format!("the payload has {size} bytes, and the broker takes {most} at the most");
            return Err(Refusal::Final(self.error(topic, &Cause::new(ErrorKind::TooLarge, text))));
        }
        let link = self.link(grants, topic).await?;
        // The library's part is large and over long before the answer comes: it takes no room while that is waited for.
        let sending = Box::pin(async {
            let mut sender = link.lock().await;
            let encoded = Sendable::builder().message(message::encode(topic, message)).build();
            sender.send_batchable(encoded).await
        });
        let sent = sending.await;
        let used = Arc::downgrade(&link);
        drop(link);
        let (ended, is_broken) = match sent {
            Ok(answer) => match answer.await {
                Ok(outcome) => {
                    return judge(&outcome).map_err(|cause| Refusal::Final(self.error(topic, &cause)));
                }
                Err(error) => (Cause::from(&error), true),
            },
            Err(SendError::MessageSizeExceeded(exceeded)) => {
                let cause = self.too_large(exceeded.size, exceeded.max_size);
                return Err(Refusal::Final(self.error(topic, &cause)));
            }
            Err(error) => (Cause::from(&error), false),
        };
        let is_first = self.links.forget(topic, &used);
        if ended.kind == ErrorKind::TooLarge
            && let Some(most) = largest(&ended.text)
        {
            self.broker.learn_largest(most);
        }
        // One asks for all who were on the link.
        if is_first && !self.ended.is_cancelled() && !ended.disconnected {
            grants.withdraw(topic);
        }
        Err(if is_broken { Refusal::Broken(ended) } else { Refusal::Unsent(ended) })
    }

    /// The error of publishing.
    pub(crate) fn error(&self, topic: &Topic, cause: &Cause) -> DriverError {
        self.broker.error(format!("Publishing to '{topic}'"), cause)
    }

    fn too_large(&self, size: u64, most: u64) -> Cause {
        let whose = match self.broker.settings.limits.message {
            Some(maximum) if u64::from(maximum) == most => "maximumMessageSize allows",
            _ => "the broker takes",
        };
        let text = format!("encoded it has {size} bytes, and {whose} {most} at the most");
        Cause::new(ErrorKind::TooLarge, text)
    }

    /// The link for a topic, attached where there is none and the broker grants it.
    async fn link(&self, grants: &Grants, topic: &Topic) -> Result<Arc<Link>, Refusal> {
        match self.links.known(topic) {
            Some(link) => Ok(link),
            // What seldom happens takes no room in each publish.
            None => Box::pin(self.new_link(grants, topic)).await,
        }
    }

    async fn new_link(&self, grants: &Grants, topic: &Topic) -> Result<Arc<Link>, Refusal> {
        grants.granted(topic).await.map_err(Refusal::Final)?;
        let lost = || Refusal::Unsent(Cause::lost("the connection was lost"));
        let (answer, attached) = oneshot::channel();
        self.orders.send(Order::Attach(topic.clone(), answer)).await.map_err(|_| lost())?;
        let cause = match attached.await.map_err(|_| lost())? {
            Ok(link) => return Ok(link),
            Err(cause) => cause,
        };
        if cause.kind != ErrorKind::Unreachable {
            grants.withdraw(topic);
        }
        if cause.disconnected {
            return Err(Refusal::Unsent(cause));
        }
        let doing = format!("Opening '{topic}' for publishing");
        Err(Refusal::Final(self.broker.error(doing, &cause)))
    }

    /// Closes the connection in order.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.orders.send(Order::Close(done)).await.is_ok() {
            // The task may have come to its end by itself.
            let _ = closed.await;
        }
    }
}

impl Links {
    fn by_topic(&self) -> MutexGuard<'_, ByTopic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, topic: &Topic) -> Option<Arc<Link>> {
        let mut by_topic = self.by_topic();
        by_topic.uses += 1;
        let now = by_topic.uses;
        let (link, used) = by_topic.links.get_mut(topic)?;
        *used = now;
        Some(link.clone())
    }

    /// Keeps a link, in place of the one used the longest ago where there are enough. A link that is dropped closes
    /// once nobody sends on it; answers to what it has sent still come.
    fn keep(&self, topic: Topic, link: &Arc<Link>, most: usize) {
        let mut by_topic = self.by_topic();
        if by_topic.links.len() >= most.max(1) {
            let oldest = by_topic.links.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(topic, _)| topic.clone()) {
                by_topic.links.remove(&oldest);
            }
        }
        let now = by_topic.uses;
        by_topic.links.insert(topic, (link.clone(), now));
    }

    /// Gives up a link that has failed; says whether it was still kept.
    fn forget(&self, topic: &Topic, link: &Weak<Link>) -> bool {
        let mut by_topic = self.by_topic();
        let is_kept = |(kept, _): &(Arc<Link>, u64)| std::ptr::eq(Arc::as_ptr(kept), link.as_ptr());
        let was_kept = by_topic.links.get(topic).is_some_and(is_kept);
        if was_kept {
            by_topic.links.remove(topic);
        }
        was_kept
    }

    fn clear(&self) {
        self.by_topic().links.clear();
    }
}

/// Has a connection until it ends, or nobody wants it any more.
async fn tend(
    broker: Arc<Broker>,
    mut connection: Connection,
    mut orders: mpsc::Receiver<Order>,
    links: Arc<Links>,
    ended: CancellationToken,
) {
    let closer = loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = connection.ended() => None,
        };
        match order {
            Some(Order::Attach(topic, answer)) => {
                // Somebody else may have asked for the same.
                let attached = match links.known(&topic) {
                    Some(link) => Ok(link),
                    None => attach(&broker, &mut connection, topic, &links).await,
                };
                // Who has asked may have given up.
                let _ = answer.send(attached);
            }
            Some(Order::Close(done)) => break Some(done),
            None => break None,
        }
    };
    ended.cancel();
    links.clear();
    connection.close().await;
    if let Some(done) = closer {
        let _ = done.send(());
    }
}

async fn attach(
    broker: &Broker,
    connection: &mut Connection,
    topic: Topic,
    links: &Links,
) -> Result<Arc<Link>, Cause> {
    let sender = connection.attach_sender(&broker.settings, Address::parse(topic.as_str())).await?;
    let link = Arc::new(AsyncMutex::new(sender));
    links.keep(topic, &link, broker.options.links);
    Ok(link)
}

fn judge(outcome: &Outcome) -> Result<(), Cause> {
    match outcome {
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejected) => Err(rejection(rejected.error.as_ref())),
        Outcome::Released(_) | Outcome::Modified(_) => {
            Err(Cause::new(ErrorKind::Other, "the broker gave the message back without taking it"))
        }
    }
}
