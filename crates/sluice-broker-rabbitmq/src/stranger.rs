//! What listens at a port where RabbitMQ was expected: told from its first words, or from none.

use std::io;

/// Bytes that tell who speaks; a broker's first frame has more.
const FIRST: usize = 5;

/// An error for who begins with something else than a broker, as far as it is known who does.
pub(crate) fn known(first: &[u8; FIRST]) -> io::Result<()> {
    match first {
        b"HTTP/" => Err(other("what answers there is a web server: it speaks HTTP and not AMQP 0-9-1")),
        // An alert, or the beginning of a handshake.
        [0x15 | 0x16, 0x03, ..] => {
            Err(other("what answers there speaks TLS: set security.ssl, or use the port without TLS"))
        }
        _ => Ok(()),
    }
}

/// The error of what has left before it said anything.
pub(crate) fn left() -> io::Error {
    other("what listens there hung up at the first words: it may not speak AMQP 0-9-1, or want TLS")
}

fn other(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
