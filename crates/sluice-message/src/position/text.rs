//! Positions as text.
//!
//! The plain form is `topicA@p#o,p#o;topicB@p#o`: for each topic the partitions, for each partition the last
//! delivered offset, `-1` where nothing was delivered. It never says "0" for "nothing yet": that is the
//! position behind the first message. The bytes `%`, `@`, `#`, `,` and `;` in the name of a topic stand as
//! `%25`, `%40`, `%23`, `%2C` and `%3B`, so that every name has one reading. The empty text is the position
//! that names no partition. Clients are given the plain form in base64.

use std::{borrow::Cow, fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Offset, Partition, Position, Topic};

/// The longest encoded position that is read, in bytes. Sixty-four topics with the longest names and
/// [`MAX_POSITION_PARTITIONS`] partitions fit.
pub const MAX_POSITION_BYTES: usize = 1 << 20;

/// The most partitions that a position which is read may name.
pub const MAX_POSITION_PARTITIONS: usize = 16_384;

/// The largest offset that a text may hold, which is also the largest that brokers have.
const MAX_OFFSET: u64 = i64::MAX as u64 - 1;

/// Why a text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// It is longer than [`MAX_POSITION_BYTES`].
    #[error("The position is longer than {MAX_POSITION_BYTES} bytes.")]
    TooLong,
    /// It is not base64 of text.
    #[error("The position is not base64 (standard alphabet, padded) of UTF-8 text.")]
    NotBase64,
    /// The text in it does not have the form of a position.
    #[error("The position does not read topic@partition#offset.")]
    Malformed,
    /// A partition stands in it twice.
    #[error("The position names a partition twice.")]
    Repeated,
    /// It names more than [`MAX_POSITION_PARTITIONS`] partitions.
    #[error("The position names more than {MAX_POSITION_PARTITIONS} partitions.")]
    TooManyPartitions,
}

impl Position {
    /// The text for clients: the plain form (see [`Position`]'s `Display`) in base64 with the standard
    /// alphabet, padded. `test-topic@0#1` is `dGVzdC10b3BpY0AwIzE=`.
    pub fn encode(&self) -> String {
        STANDARD.encode(self.to_string())
    }

    /// The position behind a text that [`encode`](Self::encode) made, or anybody else by the same rules.
    pub fn decode(text: &str) -> Result<Self, PositionError> {
        if text.len() > MAX_POSITION_BYTES {
            return Err(PositionError::TooLong);
        }
        let plain = STANDARD.decode(text).map_err(|_| PositionError::NotBase64)?;
        std::str::from_utf8(&plain).map_err(|_| PositionError::NotBase64)?.parse()
    }
}

/// The plain form, `topicA@p#o,p#o;topicB@p#o`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&Topic> = None;
        for (topic, partition, next) in self.nexts() {
            match before {
                Some(same) if same == topic => f.write_str(",")?,
                Some(_) => write!(f, ";{}@", escaped(topic.as_str()))?,
                None => write!(f, "{}@", escaped(topic.as_str()))?,
            }
            match next.0.checked_sub(1) {
                Some(last) => write!(f, "{}#{last}", partition.0)?,
                None => write!(f, "{}#-1", partition.0)?,
            }
            before = Some(topic);
        }
        Ok(())
    }
}

/// Reads the plain form. Strict: no spaces, no signs, no leading zeros, each partition once; topics and
/// partitions in any order.
impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        if text.len() > MAX_POSITION_BYTES {
            return Err(PositionError::TooLong);
        }
        let mut position = Self::new();
        if text.is_empty() {
            return Ok(position);
        }
        for part in text.split(';') {
            let (name, partitions) = part.split_once('@').ok_or(PositionError::Malformed)?;
            let topic = Topic::from(&*unescaped(name).ok_or(PositionError::Malformed)?);
            for pair in partitions.split(',') {
                let (partition, next) = read_pair(pair).ok_or(PositionError::Malformed)?;
                if position.next(&topic, partition).is_some() {
                    return Err(PositionError::Repeated);
                }
                if position.len() == MAX_POSITION_PARTITIONS {
                    return Err(PositionError::TooManyPartitions);
                }
                position.set_next(&topic, partition, next);
            }
        }
        Ok(position)
    }
}

fn read_pair(pair: &str) -> Option<(Partition, Offset)> {
    let (partition, last) = pair.split_once('#')?;
    let partition = u32::try_from(number(partition)?).ok()?;
    let next = match last {
        "-1" => 0,
        last => number(last)? + 1,
    };
    Some((Partition(partition), Offset(next)))
}

/// `parse` alone would take `+1` and `007`.
fn number(digits: &str) -> Option<u64> {
    let canonical =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok()).flatten().filter(|number| *number <= MAX_OFFSET)
}

const ESCAPES: [(char, &str); 5] = [('%', "%25"), ('@', "%40"), ('#', "%23"), (',', "%2C"), (';', "%3B")];

fn escaped(name: &str) -> Cow<'_, str> {
    if !name.contains(ESCAPES.map(|(plain, _)| plain)) {
        return Cow::Borrowed(name);
    }
    // The percent sign comes first in the list, so that no escape is escaped again.
    ESCAPES.iter().fold(Cow::Borrowed(name), |name, (plain, escape)| name.replace(*plain, escape).into())
}

/// The name behind an escaped one; `None` for an empty name, an escape of another character, or a character
/// that should have been escaped.
fn unescaped(name: &str) -> Option<Cow<'_, str>> {
    if name.is_empty() || name.contains(['#', ',']) {
        return None;
    }
    let mut parts = name.split('%');
    let mut plain = Cow::Borrowed(parts.next()?);
    for part in parts {
        let (escape, rest) = part.split_at_checked(2)?;
        let (known, _) = ESCAPES.iter().find(|(_, known)| known[1..] == *escape)?;
        let text = plain.to_mut();
        text.push(*known);
        text.push_str(rest);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(entries: &[(&str, u32, u64)]) -> Position {
        let mut position = Position::new();
        for (topic, partition, next) in entries {
            position.set_next(&Topic::from(*topic), Partition(*partition), Offset(*next));
        }
        position
    }

    #[test]
    fn the_text_is_the_one_that_clients_know() {
        let one = position(&[("test-topic", 0, 2)]);
        assert_eq!(one.encode(), "dGVzdC10b3BpY0AwIzE=");
        assert_eq!(Position::decode("dGVzdC10b3BpY0AwIzE="), Ok(one));
        let many = position(&[("a", 0, 8), ("a", 3, 1), ("b.c", 0, 12)]);
        assert_eq!(many.to_string(), "a@0#7,3#0;b.c@0#11");
    }

    #[test]
    fn nothing_delivered_yet_differs_from_the_first_message_delivered() {
        let nothing = position(&[("t", 0, 0)]);
        assert_eq!(nothing.to_string(), "t@0#-1");
        assert_eq!("t@0#-1".parse(), Ok(nothing));
        assert_eq!("t@0#0".parse(), Ok(position(&[("t", 0, 1)])));
        assert_eq!(Position::decode(""), Ok(Position::new()));
    }

    #[test]
    fn the_names_of_patterns_are_told_from_the_grammar() {
        let pattern = position(&[("plants/+/oil, \u{e9}/#", 0, 8), ("a;b@c%23", 0, 1), ("sport/>", 0, 2)]);
        assert_eq!(pattern.to_string(), "a%3Bb%40c%2523@0#0;plants/+/oil%2C \u{e9}/%23@0#7;sport/>@0#1");
        assert_eq!(Position::decode(&pattern.encode()), Ok(pattern));
    }

    #[test]
    fn topics_and_partitions_may_stand_in_any_order() {
        assert_eq!(
            "b@1#2,0#1;a@0#5;b@2#0".parse(),
            Ok(position(&[("a", 0, 6), ("b", 0, 2), ("b", 1, 3), ("b", 2, 1)]))
        );
    }

    #[test]
    fn what_is_no_position_is_refused_with_its_reason() {
        for text in [
            "t",
            "t@",
            "@0#1",
            "t@0",
            "t@#1",
            "t@0#",
            "t@0#1,",
            "t@0#1;",
            ";",
            "t@0#1;;u@0#1",
            "t@0#-2",
            "t@-1#0",
            "t@+0#1",
            "t@00#1",
            "t@0#01",
            "t@ 0#1",
            "t@0#1 ",
            "t@4294967296#1",
            "t@0#9223372036854775807",
            "t%@0#1",
            "t%41@0#1",
            "t%2c@0#1",
            "t@u@0#1",
            "t#@0#1",
            "t%é@0#1",
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionError::Malformed), "{text}");
        }
        assert_eq!("t@0#1,0#2".parse::<Position>(), Err(PositionError::Repeated));
        assert_eq!("t@0#1;t@0#-1".parse::<Position>(), Err(PositionError::Repeated));
        for text in ["dGVzdC10b3BpY0AwIzE", "dGVzdC10b3BpY0AwIzE==", "dGVz dC1=", "t@0#1", "//79"] {
            assert_eq!(Position::decode(text), Err(PositionError::NotBase64), "{text}");
        }
    }

    #[test]
    fn the_bounds_hold_at_their_edges() {
        let named = |count: usize| {
            let pairs: Vec<_> = (0..count).map(|partition| format!("{partition}#1")).collect();
            format!("t@{}", pairs.join(",")).parse::<Position>()
        };
        assert_eq!(
            named(MAX_POSITION_PARTITIONS).map(|position| position.len()),
            Ok(MAX_POSITION_PARTITIONS)
        );
        assert_eq!(named(MAX_POSITION_PARTITIONS + 1), Err(PositionError::TooManyPartitions));
        let name = |length: usize| format!("{}@0#1", "x".repeat(length - 4)).parse::<Position>();
        assert!(name(MAX_POSITION_BYTES).is_ok());
        assert_eq!(name(MAX_POSITION_BYTES + 1), Err(PositionError::TooLong));
        assert_eq!(Position::decode(&"A".repeat(MAX_POSITION_BYTES + 4)), Err(PositionError::TooLong));
    }

    #[test]
    fn the_largest_position_that_counts_as_bounded_can_be_read_back() {
        let mut largest = Position::new();
        for index in 0..MAX_POSITION_PARTITIONS {
            let topic = Topic::from(format!("{:x>240}", index % 64));
            let partition = u32::MAX - u32::try_from(index).unwrap_or_default();
            largest.set_next(&topic, Partition(partition), Offset(MAX_OFFSET));
        }
        assert_eq!(Position::decode(&largest.encode()), Ok(largest));
    }

    proptest! {
        #[test]
        fn every_position_survives_its_text(
            // Among them what patterns of MQTT, AMQP and Solace are made of.
            entries in prop::collection::vec(("[a-b%@#,;/+*>$. é\u{1f4a7}]{1,6}|\\PC{1,12}", 0u32..5, 0u64..100), 0..20)
        ) {
            let entries: Vec<_> = entries.iter().map(|(topic, partition, next)| (&**topic, *partition, *next)).collect();
            let position = position(&entries);
            prop_assert_eq!(Position::decode(&position.encode()), Ok(position));
        }

        #[test]
        fn arbitrary_text_is_a_position_or_an_error(text in "\\PC*", shaped in "[t%@#,;0-9-]{0,24}") {
            let _ = Position::decode(&text);
            for text in [text, shaped] {
                if let Ok(position) = text.parse::<Position>() {
                    prop_assert_eq!(position.to_string().parse(), Ok(position));
                }
            }
        }
    }
}
