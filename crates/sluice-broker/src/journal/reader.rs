//! A reader of a journal: one of the log, in the words of the API.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use sluice_message::{Message, Position};

use super::{envelope, names::Names};
use crate::{BatchLimit, Consumer, DriverError, ErrorKind};

pub(super) struct Reader {
    inner: Box<dyn Consumer>,
    names: Arc<Names>,
    /// Why nothing can be read from here on.
    broken: Option<DriverError>,
}

impl Reader {
    pub(super) fn new(inner: Box<dyn Consumer>, names: Arc<Names>) -> Self {
        Self { inner, names, broken: None }
    }

    async fn next_batch(&mut self, batch: &mut Vec<Message>, limit: BatchLimit) -> Result<(), DriverError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let mut sealed = Vec::new();
        self.inner.fetch(&mut sealed, limit).await.map_err(|error| self.names.told(error))?;
        let before = batch.len();
        for message in sealed {
            match self.opened(&message) {
                Ok(message) => batch.push(message),
                // What is good before it is not held back: the next call meets the error first.
                Err(error) => {
                    self.broken = Some(error.clone());
                    return if batch.len() > before { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    fn opened(&self, sealed: &Message) -> Result<Message, DriverError> {
        let place = sealed.place().and_then(|place| self.names.place_outside(place));
        place.and_then(|place| envelope::open(sealed, place)).ok_or_else(|| {
            let place = sealed.place().map(|place| place.offset.0).unwrap_or_default();
            let text = format!(
                "The journal holds at offset {place} a message in a form that this gateway does not know. Was it \
                 written by a newer one?"
            );
            DriverError::new(ErrorKind::Storage, text)
        })
    }
}

impl Consumer for Reader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        self.next_batch(batch, limit).boxed()
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            for (topic, ..) in position.nexts() {
                self.names.stored(topic)?;
            }
            let inside = self.names.position_inside(position);
            self.inner.commit(&inside).await.map_err(|error| self.names.told(error))
        }
        .boxed()
    }
}
