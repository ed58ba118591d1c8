//! The decoder against frames as clients send them.

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;

use crate::{Decoder, Deflate, Event, Kind, Limits, Violation, accept_key, agree, encode};

const LIMITS: Limits = Limits { frame: 1000, message: 2000 };

/// A client's frame; `first` is its first byte.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match content.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(content.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
    frame
}

/// Everything that is read of bytes that come in pieces of `step`.
fn read_in_steps(bytes: &[u8], step: usize, compression: bool) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::new(LIMITS, compression);
    let (mut received, mut events) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        received.extend_from_slice(piece);
        loop {
            match decoder.next(&mut received) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

fn read(frames: &[Vec<u8>]) -> (Vec<Event>, Option<Violation>) {
    read_in_steps(&frames.concat(), usize::MAX, false)
}

fn violation(frames: &[Vec<u8>]) -> Option<Violation> {
    read(frames).1
}

fn text(payload: &str) -> Event {
    Event::Message { kind: Kind::Text, payload: payload.to_owned().into() }
}

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut output = Vec::with_capacity(content.len() + 100);
    compress.compress_vec(content, &mut output, FlushCompress::Sync).unwrap();
    output.truncate(output.len() - 4);
    output
}

#[test]
fn the_key_of_the_standard_has_the_answer_of_the_standard() {
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ==").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for key in ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZQ", "no base64"] {
        assert_eq!(accept_key(key), None, "{key}");
    }
}

#[test]
fn fragments_become_one_message_and_a_ping_may_come_between() {
    let frames = [frame(0x01, b"a"), frame(0x89, b"?"), frame(0x00, b""), frame(0x80, b"b")];
    assert_eq!(read(&frames), (vec![Event::Ping(Bytes::from("?")), text("ab")], None));
}

#[test]
fn any_number_of_fragments_makes_a_message() {
    let mut decoder = Decoder::new(LIMITS, false);
    let mut received = BytesMut::from(&frame(0x01, b"")[..]);
    for _ in 0..100_000 {
        received.extend_from_slice(&frame(0x00, b""));
        assert_eq!(decoder.next(&mut received), Ok(None));
    }
    received.extend_from_slice(&frame(0x80, b"x"));
    assert_eq!(decoder.next(&mut received), Ok(Some(text("x"))));
}

#[test]
fn what_the_standard_forbids_is_told() {
    let mut unmasked = frame(0x81, b"");
    unmasked[1] = 0;
    for (frames, expected) in [
        (vec![frame(0xc1, b"")], Violation::ReservedBit),
        (vec![frame(0xa1, b"")], Violation::ReservedBit),
        (vec![frame(0xc9, b"")], Violation::ReservedBit),
        (vec![frame(0x83, b"")], Violation::Opcode),
        (vec![frame(0x8b, b"")], Violation::Opcode),
        (vec![unmasked], Violation::Unmasked),
        (vec![frame(0x09, b"")], Violation::Control),
        (vec![frame(0x89, &[0; 126])], Violation::Control),
        (vec![frame(0x80, b"")], Violation::Continuation),
        (vec![frame(0x01, b""), frame(0x81, b"")], Violation::Interleaved),
        (vec![frame(0x88, &[3])], Violation::CloseCode),
        (vec![frame(0x88, &1005_u16.to_be_bytes())], Violation::CloseCode),
        (vec![frame(0x88, &[3, 0xe8, 0xff])], Violation::Utf8),
        (vec![frame(0x81, b"\xc0\x80")], Violation::Utf8),
        (vec![frame(0x81, b"\xc3")], Violation::Utf8),
        (vec![vec![0x81, 0xfe, 0, 125]], Violation::Length),
        (vec![vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]], Violation::Length),
        (vec![vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]], Violation::Length),
    ] {
        assert_eq!(violation(&frames), Some(expected), "{frames:x?}");
    }
}

#[test]
fn the_numbers_of_a_close_are_those_that_may_be_sent() {
    for (number, allowed) in [
        (999, false),
        (1000, true),
        (1003, true),
        (1004, false),
        (1006, false),
        (1007, true),
        (1014, true),
        (1015, false),
        (2999, false),
        (3000, true),
        (4999, true),
        (5000, false),
    ] {
        let closed = read(&[frame(0x88, &u16::to_be_bytes(number))]);
        assert_eq!(closed.1.is_none(), allowed, "{number}");
    }
    assert_eq!(read(&[frame(0x88, b""), frame(0x81, b"unread")]), (vec![Event::Close(None)], None));
}

#[test]
fn text_that_cannot_become_utf8_is_told_before_its_frame_is_whole() {
    let whole = frame(0x81, &[&b"\xce\xba\xf4\x90"[..], &[b'x'; 100]].concat());
    let (events, violation) = read_in_steps(&whole[..6 + 4], usize::MAX, false);
    assert_eq!((events.len(), violation), (0, Some(Violation::Utf8)));
}

#[test]
fn limits_hold_to_the_byte_and_are_told_by_the_header() {
    let at_limit = |first: u8, size: usize| frame(first, &vec![b'x'; size]);
    assert_eq!(violation(&[at_limit(0x82, 1000)]), None);
    assert_eq!(violation(&[at_limit(0x82, 1001)[..8].to_vec()]), Some(Violation::TooBig));
    assert_eq!(violation(&[at_limit(0x02, 1000), at_limit(0x80, 1000)]), None);
    let beyond = [at_limit(0x02, 1000), at_limit(0x00, 1000), frame(0x80, b"x")];
    assert_eq!(violation(&beyond), Some(Violation::TooBig));
    let endless = vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(violation(&[endless]), Some(Violation::TooBig));
}

#[test]
fn a_compressed_message_over_the_limit_is_given_up_while_it_is_small() {
    let bomb = |size: usize| frame(0xc2, &deflated(&vec![0; size]));
    assert_eq!(read_in_steps(&bomb(2000), 7, true).1, None);
    let mut decoder = Decoder::new(LIMITS, true);
    let mut received = BytesMut::from(&bomb(500_000)[..]);
    assert_eq!(decoder.next(&mut received), Err(Violation::TooBig));
    assert!(decoder.held() <= LIMITS.message + 1, "{}", decoder.held());
}

#[test]
fn compressed_data_without_content_does_not_go_on_for_ever() {
    let nothing = [0, 0, 0, 0xff, 0xff].repeat(100);
    let frames = [vec![frame(0x42, &nothing)], vec![frame(0x00, &nothing); 9]].concat().concat();
    assert_eq!(read_in_steps(&frames, usize::MAX, true).1, Some(Violation::TooBig));
}

#[test]
fn compressed_data_that_is_none_is_told() {
    assert_eq!(read_in_steps(&frame(0xc2, &[0xff; 20]), 3, true).1, Some(Violation::Deflate));
    assert_eq!(read_in_steps(&frame(0x42, b""), 3, true).1, None);
    assert_eq!(
        read_in_steps(&[frame(0x42, b""), frame(0xc0, b"")].concat(), 3, true).1,
        Some(Violation::ReservedBit)
    );
}

#[test]
fn compressed_data_may_end_and_begin_anew_within_a_message() {
    let mut compress = Compress::new(Compression::best(), false);
    let mut ended = Vec::with_capacity(100);
    compress.compress_vec(b"one ", &mut ended, FlushCompress::Finish).unwrap();
    ended.extend(deflated(b"two"));
    assert_eq!(read_in_steps(&frame(0xc1, &ended), 2, true), (vec![text("one two")], None));
}

fn agreed(bits: u8) -> Deflate {
    agree([&*format!("permessage-deflate; server_max_window_bits={bits}")]).unwrap()
}

#[test]
fn a_message_that_does_not_shrink_grows_by_a_few_bytes_and_a_very_large_one_is_sent_as_it_is() {
    let random: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_mul(181)).collect();
    for payload in [&random[..], b"", b"a"] {
        let (plain, compressed) =
            (encode::message(Kind::Binary, payload), encode::compressed(Kind::Binary, payload, agreed(15)));
        assert!(compressed[0] == 0xc2 && compressed.len() <= plain.len() + 16);
    }
    let sent_as = |size: usize| encode::compressed(Kind::Binary, &vec![0; size], agreed(15))[0];
    assert_eq!((sent_as(1 << 20), sent_as((1 << 20) + 1)), (0xc2, 0x82));
}

#[test]
fn a_reason_too_long_for_a_close_is_cut_between_characters() {
    let close = encode::close(crate::CloseCode::POLICY, &"ä".repeat(100));
    assert_eq!((close.len(), std::str::from_utf8(&close[4..]).unwrap().chars().count()), (2 + 2 + 122, 61));
}

/// The content of a server's frame and its first byte.
fn opened(frame: &Bytes) -> (u8, &[u8]) {
    let header = match frame[1] {
        0..=125 => 2,
        126 => 4,
        _ => 10,
    };
    (frame[0], &frame[header..])
}

proptest! {
    #[test]
    fn a_client_with_a_small_window_reads_what_was_compressed_for_it(
        words in proptest::collection::vec("[a-f]{1,9}", 0..1000), bits in 9..=15_u8,
    ) {
        let payload = words.join(" ").into_bytes();
        let compressed = encode::compressed(Kind::Text, &payload, agreed(bits));
        let (first, content) = opened(&compressed);
        prop_assert_eq!(first, 0xc1);
        let content = [content, &[0, 0, 0xff, 0xff]].concat();
        let mut read = Vec::with_capacity(payload.len() + 1);
        let mut window = Decompress::new_with_window_bits(false, bits);
        window.decompress_vec(&content, &mut read, FlushDecompress::Sync).unwrap();
        prop_assert_eq!(read, payload);
    }

    #[test]
    fn frames_are_read_alike_wherever_they_are_cut(
        frames in proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..6
        ),
        step in 1..40_usize,
        compression: bool,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(first, content)| frame(*first, content)).collect();
        let (events, violation) = read_in_steps(&bytes, usize::MAX, compression);
        let (cut_events, cut_violation) = read_in_steps(&bytes, step, compression);
        prop_assert_eq!(events, cut_events);
        // Of two faults in one piece it depends on the cut which is seen first.
        prop_assert_eq!(violation.is_some(), cut_violation.is_some());
    }

    #[test]
    fn messages_arrive_whole_however_they_are_fragmented_and_compressed(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..5),
        piece in 1..80_usize, step in 1..90_usize, compression: bool,
    ) {
        let mut sent = Vec::new();
        for payload in &payloads {
            let content = if compression { deflated(payload) } else { payload.clone() };
            let first = if compression { 0x42 } else { 0x02 };
            let pieces: Vec<&[u8]> = content.chunks(piece).collect();
            let last = pieces.len().saturating_sub(1);
            for (index, piece) in pieces.iter().enumerate() {
                let fin = if index == last { 0x80 } else { 0 };
                sent.extend(frame(fin | if index == 0 { first } else { 0 }, piece));
            }
            if pieces.is_empty() {
                sent.extend(frame(0x82, b""));
            }
        }
        let (events, violation) = read_in_steps(&sent, step, compression);
        prop_assert_eq!(violation, None);
        let expected: Vec<Event> = payloads
            .into_iter()
            .map(|payload| Event::Message { kind: Kind::Binary, payload: payload.into() })
            .collect();
        prop_assert_eq!(events, expected);
    }
}
