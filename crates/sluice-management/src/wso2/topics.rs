//! The topics of channels that do not name theirs.

use blake2::{Blake2s256, Digest};
use sluice_api::is_topic_name;

/// How many characters of a long name are kept in front of its hash.
const KEPT: usize = 200;

/// The topic of a channel of a `WebSubApi`, which no other API has: handle, version and channel with dots between them.
/// Letters, digits and `-` stand for themselves, in the channel also `.`; anything else is `_` and the two hex digits of
/// each byte. One that is too long is cut and ends with a hash of the whole.
pub(super) fn of_hub(handle: &str, version: &str, channel: &str) -> String {
    let mut topic = String::new();
    for part in [handle, version] {
        escape(part, false, &mut topic);
        topic.push('.');
    }
    escape(channel, true, &mut topic);
    if is_topic_name(&topic) {
        return topic;
    }
    let digest = Blake2s256::digest(topic.as_bytes());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    topic.truncate(KEPT);
    format!("{topic}.{hash}")
}

fn escape(text: &str, dots: bool, topic: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => topic.push(char::from(byte)),
            b'.' if dots => topic.push('.'),
            other => topic.push_str(&format!("_{other:02x}")),
        }
    }
}

/// The topic of a channel of a `WebBrokerApi`, as existing clients expect it: letters, digits, `.` and `-` stand for
/// themselves, `_` is `__`, anything else its number in hex between two `_`.
pub(super) fn of_channel(channel: &str) -> String {
    let mut topic = String::new();
    for character in channel.chars() {
        match character {
            '.' | '-' => topic.push(character),
            letter if letter.is_ascii_alphanumeric() => topic.push(letter),
            '_' => topic.push_str("__"),
            other => topic.push_str(&format!("_{:x}_", u32::from(other))),
        }
    }
    topic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_of_a_hub_can_be_read_and_belongs_to_one_channel() {
        assert_eq!(of_hub("orders-v1-0", "v1.0", "created"), "orders-v1-0.v1_2e0.created");
        assert_eq!(of_hub("a_b", "v1", "x/y.z"), "a_5fb.v1.x_2fy.z");
        assert_ne!(of_hub("a", "v1.0", "v2.x"), of_hub("a.v1.0", "v2", "x"));
        assert_ne!(of_hub("a", "v1", "b_2fc"), of_hub("a", "v1", "b/c"));
    }

    #[test]
    fn a_long_name_is_cut_and_stays_its_own() {
        let (one, other) = (of_hub("a", "v1", &"/".repeat(255)), of_hub("a", "v1", &"/".repeat(254)));
        assert!(is_topic_name(&one) && is_topic_name(&other));
        assert_ne!(one, other);
        let fits = of_hub("a", "v1", &"c".repeat(235));
        assert_eq!((fits.len(), fits.ends_with("ccc")), (240, true));
        assert_eq!(of_hub("a", "v1", &"c".repeat(236)).len(), KEPT + 33);
    }

    #[test]
    fn a_channel_without_topics_has_the_normalized_name() {
        assert_eq!(of_channel("prices"), "prices");
        assert_eq!(of_channel("a_b/c.d-e"), "a__b_2f_c.d-e");
        assert_eq!(of_channel("ü"), "_fc_");
    }
}
