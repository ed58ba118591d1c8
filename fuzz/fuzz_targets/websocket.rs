//! The WebSocket decoder: whatever a client sends is read alike wherever it is cut, and never becomes more than
//! the limit allows. The first byte of the input says where to cut and whether compression was agreed on.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sluice_websocket::{Decoder, Event, Limits, Violation};

const LIMITS: Limits = Limits { frame: 4096, message: 8192 };

fn read(sent: &[u8], step: usize, compression: bool) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::new(LIMITS, compression);
    let (mut received, mut events) = (BytesMut::new(), Vec::new());
    for piece in sent.chunks(step) {
        received.extend_from_slice(piece);
        loop {
            match decoder.next(&mut received) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
            assert!(decoder.held() <= 2 * LIMITS.message + 8);
        }
    }
    (events, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, sent)) = input.split_first() else { return };
    let (step, compression) = (usize::from(how >> 1) + 1, how & 1 == 1);
    let (events, violation) = read(sent, usize::MAX, compression);
    let (cut_events, cut_violation) = read(sent, step, compression);
    assert_eq!(events, cut_events);
    // Of two faults in one piece it depends on the cut which is seen first.
    assert_eq!(violation.is_some(), cut_violation.is_some());
    for event in events {
        if let Event::Message { payload, .. } = event {
            assert!(payload.len() <= LIMITS.message);
        }
    }
});
