//! Fan-out: one broker consumer, many clients.
//!
//! For each broker and topic set that anybody listens to there is one [`hub`](Hubs), which owns the only
//! broker consumer and writes what it reads into a bounded [ring](ring::Ring). A client is a [`Cursor`]: a
//! number, not a consumer. A client that is too slow finds its place overwritten: it is told how much it
//! missed, or is stopped, or reads what it missed from the broker and then [goes on in the ring](Lag). It never
//! slows the hub or another client, and never makes it keep more. [`Positions`] keeps how far the readers have come that
//! outlive a connection, [`Notes`] what else does. Clients that share work are members of a [group](Hubs::join_group)
//! instead, whose reader deals out each message to one of them.
//!
//! Nothing here knows HTTP, policies or any particular broker.

mod alone;
mod brought;
mod catch_up;
mod cursor;
mod dealing;
mod group;
mod handed_out;
mod hub;
mod in_ring;
mod lag;
mod lost;
mod metrics;
mod notes;
mod positions;
mod ring;
mod standing;
mod turns;
mod window;

pub use cursor::{Begin, Cursor, Joining, Lag, Step};
pub use group::{Confirm, NoGroup, Sharing};
pub use hub::{HubOptions, Hubs};
pub use lag::behind;
pub use metrics::StreamMetrics;
pub use notes::{
    MAX_NOTE_BYTES, MAX_NOTE_NAME_BYTES, MAX_NOTES_OF_A_GROUP, MemoryNotes, Notes, NotesError, check_note,
    note_group,
};
pub use positions::{
    MAX_CLIENTS, MAX_READER_BYTES, MemoryPositions, Positions, PositionsError, check_storable, client_prefix,
    client_reader, clients_of, subscription_reader,
};
pub use standing::Standing;
pub use turns::Side;
pub use window::{AckWindow, Begun};
