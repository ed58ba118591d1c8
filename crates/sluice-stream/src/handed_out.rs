//! What was handed out to one client, where no number in a ring says so.

use sluice_message::{Message, Position};

/// The position of one client, kept message by message.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    pub(crate) position: Position,
    /// Whether each message is to have the text of this position.
    pub(crate) tells: bool,
}

impl HandedOut {
    /// Leaves out what was handed out before; the rest is from then on.
    pub(crate) fn take(&mut self, batch: &mut Vec<Message>) {
        batch.retain(|message| message.place().is_none_or(|place| !self.position.covers(place)));
        self.add(batch);
    }

    /// Counts all of these as handed out.
    pub(crate) fn add(&mut self, batch: &mut Vec<Message>) {
        if !self.tells {
            return self.position.extend(batch.iter().filter_map(Message::place));
        }
        // Moved out and in again, so that a message that nobody else holds is not copied.
        let told = std::mem::take(batch).into_iter().map(|message| {
            self.position.extend(message.place());
            message.with_position(self.position.encode().into())
        });
        *batch = told.collect();
    }
}
