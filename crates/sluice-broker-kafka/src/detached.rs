//! A client of librdkafka whose end nobody waits for.
//!
//! Ending one joins its threads, and for a consumer takes round trips to the broker, for as long as that
//! takes. Who drops the last of it may be a worker of the runtime, so the end has a thread of its own, always
//! and in this one place. No thread of the runtime, since those are waited for when the runtime ends.

use std::{
    ops::Deref,
    sync::{Arc, mpsc},
    thread,
};

use tokio_util::task::TaskTracker;

/// A client that ends on a thread of its own.
// The fields are dropped in this order, and the thread counts on it.
pub(crate) struct Detached<T: Send + Sync + 'static> {
    client: Arc<T>,
    /// Tells the thread, by being dropped, that it holds the client alone.
    released: Option<mpsc::Sender<()>>,
    ends: TaskTracker,
}

impl<T: Send + Sync + 'static> Detached<T> {
    /// `ends` counts the ends under way.
    pub(crate) fn new(client: T, ends: TaskTracker) -> Self {
        Self { client: Arc::new(client), released: None, ends }
    }
}

impl<T: Send + Sync + 'static> Deref for Detached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.client
    }
}

impl<T: Send + Sync + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        let (client, under_way) = (self.client.clone(), self.ends.token());
        let (released, is_released) = mpsc::channel();
        self.released = Some(released);
        let end = thread::Builder::new().name("kafka-client-end".to_owned()).spawn(move || {
            // Nothing is ever sent.
            let _ = is_released.recv();
            drop(client);
            drop(under_way);
        });
        // Where the system has no thread to give, the client ends here after all.
        drop(end);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Takes as long to end as the test wants.
    struct Slow {
        may_end: mpsc::Receiver<()>,
        ended: mpsc::Sender<bool>,
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let was_told = self.may_end.recv_timeout(Duration::from_secs(60)).is_ok();
            let _ = self.ended.send(was_told);
        }
    }

    #[tokio::test]
    async fn a_drop_does_not_wait_for_the_end_but_others_can() {
        let (tell, may_end) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel();
        let ends = TaskTracker::new();
        // A receiver is not `Sync`, as clients are.
        let client = Detached::new(std::sync::Mutex::new(Slow { may_end, ended }), ends.clone());
        drop(client);
        assert_eq!(ends.len(), 1);
        tell.send(()).unwrap();
        ends.close();
        ends.wait().await;
        assert_eq!(has_ended.try_recv(), Ok(true), "the drop waited until it was given up");
    }
}
