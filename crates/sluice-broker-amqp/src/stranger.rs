//! What listens at a port where a broker that speaks AMQP 1.0 was expected: told from its first words, or from none.

use std::io;

use sluice_broker::{ErrorKind, has_left};
use tokio_rustls::rustls;

use crate::error::{Cause, no_amqp, of_io};

/// What has answered the greeting with these bytes, which are not AMQP 1.0's, or with none.
pub(crate) fn told(first: &[u8], error: Option<io::Error>) -> Cause {
    match first {
        [b'H', b'T', b'T', b'P', b'/', ..] => {
            Cause::lost("what answers there is a web server: it speaks HTTP and not AMQP 1.0")
        }
        // An alert, or the beginning of a handshake.
        [0x15 | 0x16, 0x03, ..] => Cause::lost(
            "what answers there speaks TLS: use the port of connections that are not encrypted, or a url for those that are",
        ),
        [b'A', b'M', b'Q', b'P', 0 | 1, _, 0 | 9, 1 | 9] => {
            Cause::lost("what answers there speaks AMQP 0-9-1 and not 1.0; the broker 'rabbitmq' speaks that")
        }
        [b'A', b'M', b'Q', b'P', ..] => {
            Cause::lost("what answers there does not speak AMQP 1.0 with a login by SASL")
        }
        [_, ..] => no_amqp(),
        [] => match error.filter(|error| !has_left(error)) {
            Some(error) => of_io(&error),
            None => Cause::lost(
                "what listens there hung up at the first words: it may not speak AMQP 1.0, or want TLS",
            ),
        },
    }
}

/// Why there is no encrypted connection.
pub(crate) fn untrusted(error: &io::Error) -> Cause {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => Cause::lost(
            "what answers there does not speak TLS: use the port of connections that are encrypted, or a url for those \
             that are not",
        ),
        Some(rustls::Error::AlertReceived(_)) => Cause { kind: ErrorKind::Refused, ..of_io(error) },
        None if has_left(error) => Cause::lost(
            "what listens there hung up when TLS began: it may not speak TLS, or want a certificate",
        ),
        _ => of_io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_tell_who_speaks() {
        let words: [(&[u8], &str); 7] = [
            (b"HTTP/1.1", "HTTP"),
            (b"\x15\x03\x03\x00\x02\x02\x46\x15", "speaks TLS"),
            (b"AMQP\x00\x00\x09\x01", "'rabbitmq'"),
            (b"AMQP\x01\x01\x00\x09", "'rabbitmq'"),
            (b"AMQP\x00\x01\x00\x00", "SASL"),
            (b"SSH-2.0-", "does not speak AMQP 1.0"),
            (b"", "hung up at the first words"),
        ];
        for (first, text) in words {
            let cause = told(first, None);
            assert!(cause.text.contains(text), "{first:?}: {}", cause.text);
            assert_eq!(cause.kind, ErrorKind::Unreachable);
        }
    }
}
