//! Topic filters: which topics one matches, and which of several a message belongs to (MQTT 5 section 4.7).

use sluice_message::Topic;

/// The longest name of a topic, in bytes.
const MAX_NAME: usize = 65_535;

/// Whether a message can be published to a topic of this name. Control characters would end the connection at brokers
/// that are strict.
pub(crate) fn is_name(topic: &str) -> bool {
    (1..=MAX_NAME).contains(&topic.len()) && !topic.contains(['+', '#']) && !topic.contains(char::is_control)
}

/// Whether this can be subscribed to: wildcards are whole levels, and `#` is the last.
pub(crate) fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').rev();
    let last = levels.next().unwrap_or_default();
    let plain = |level: &str| !level.contains(['+', '#']);
    (1..=MAX_NAME).contains(&filter.len())
        && !filter.contains(char::is_control)
        && (plain(last) || matches!(last, "+" | "#"))
        && levels.all(|level| plain(level) || level == "+")
}

/// Whether a topic filter matches a topic name. Wildcards match no topic of the broker itself (`$...`) at the first
/// level; `#` matches the level above it, too.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut found) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic that both filters match.
fn overlap(one: &str, other: &str) -> bool {
    let own = |filter: &str| filter.starts_with('$');
    let wild = |filter: &str| filter.starts_with(['+', '#']);
    if own(one) && wild(other) || own(other) && wild(one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// The filters that one reader wants, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Filters {
    wanted: Vec<Topic>,
    overlapping: bool,
}

impl Filters {
    /// These filters; one that stands there twice is taken once.
    pub(crate) fn new(topics: &[Topic]) -> Self {
        let mut wanted: Vec<Topic> = Vec::with_capacity(topics.len());
        for topic in topics {
            if !wanted.contains(topic) {
                wanted.push(topic.clone());
            }
        }
        let pairs = || {
            wanted
                .iter()
                .enumerate()
                .flat_map(|(at, one)| wanted[at + 1..].iter().map(move |other| (one, other)))
        };
        let overlapping = pairs().any(|(one, other)| overlap(one.as_str(), other.as_str()));
        Self { wanted, overlapping }
    }

    /// The filters with their order as index.
    pub(crate) fn all(&self) -> &[Topic] {
        &self.wanted
    }

    /// Whether a message may match several, so that a broker may deliver it several times.
    pub(crate) fn overlapping(&self) -> bool {
        self.overlapping
    }

    /// The first filter that matches this topic.
    pub(crate) fn of(&self, topic: &str) -> Option<usize> {
        match &*self.wanted {
            [only] => matches(only.as_str(), topic).then_some(0),
            several => several.iter().position(|filter| matches(filter.as_str(), topic)),
        }
    }
}

/// The number by which a subscription is known to the broker: the same for the same filter in every process, since a
/// session keeps it. From 1 to 268,435,455 (MQTT 5 section 3.8.2.1.2), by FNV-1a.
pub(crate) fn identifier(filter: &str) -> u32 {
    const MOST: u32 = 268_435_455;
    let hash =
        filter.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % MOST + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_match_as_the_standard_says() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "sport/tennis"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("+", "finance"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("sport/+", "sport/"),
            ("+/tennis/#", "sport/tennis/a"),
            ("$SYS/#", "$SYS/uptime"),
            ("$SYS/monitor/+", "$SYS/monitor/clients"),
            ("a//b", "a//b"),
        ] {
            assert!(matches(filter, topic), "{filter} matches {topic}");
        }
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/uptime"),
            ("+/monitor/clients", "$SYS/monitor/clients"),
            ("sport", "Sport"),
            ("sport", "sport/"),
            ("a/b", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} does not match {topic}");
        }
    }

    #[test]
    fn what_is_no_topic_and_no_filter_is_told_apart() {
        for filter in ["#", "a/#", "+", "+/a/+", "/", "a//b", "$SYS/#"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/b#", "#/a", "a+", "a/b+/c", "a\0", &*"a".repeat(MAX_NAME + 1)] {
            assert!(!is_filter(filter), "{filter}");
        }
        assert!(is_name("a/b") && is_name("/") && is_name(&"a".repeat(MAX_NAME)));
        assert!(!is_name("") && !is_name("a/+") && !is_name("#") && !is_name(&"a".repeat(MAX_NAME + 1)));
    }

    #[test]
    fn a_message_belongs_to_the_first_filter_that_matches() {
        let filters = Filters::new(&["a/b".into(), "a/+".into(), "c".into(), "a/b".into()]);
        assert_eq!(filters.all().len(), 3);
        assert_eq!(
            [filters.of("a/b"), filters.of("a/c"), filters.of("c"), filters.of("d")],
            [Some(0), Some(1), Some(2), None]
        );
        assert!(filters.overlapping());
        assert!(!Filters::new(&["a/+".into(), "b/#".into(), "$SYS/#".into()]).overlapping());
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$x"), Just("+")];
        (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, all)| {
            levels.extend(all.then_some("#"));
            levels.join("/")
        })
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just(""), Just("$x")], 1..5)
            .prop_map(|levels| levels.join("/"))
    }

    /// The same rules, level by level from the end of the filter.
    fn matches_by_recursion(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => matches_by_recursion(filter, topic),
            ([wanted, filter @ ..], [found, topic @ ..]) => {
                wanted == found && matches_by_recursion(filter, topic)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_rules_told_another_way(filter in filter(), topic in topic()) {
            let levels = |text: &'static str| text.split('/').collect::<Vec<_>>();
            let (one, other): (&'static str, &'static str) = (filter.clone().leak(), topic.clone().leak());
            let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
            prop_assert_eq!(matches(&filter, &topic), !hidden && matches_by_recursion(&levels(one), &levels(other)));
        }

        #[test]
        fn filters_that_match_one_topic_overlap(one in filter(), other in filter(), topic in topic()) {
            prop_assert_eq!(overlap(&one, &other), overlap(&other, &one));
            if matches(&one, &topic) && matches(&other, &topic) {
                prop_assert!(overlap(&one, &other));
            }
        }

        #[test]
        fn a_topic_without_wildcards_matches_itself_alone(one in topic(), other in topic()) {
            prop_assert!(matches(&one, &one));
            prop_assert_eq!(matches(&one, &other), one == other);
        }

        #[test]
        fn identifiers_stay_within_what_the_protocol_allows(filter in ".{0,20}") {
            prop_assert!((1..=268_435_455).contains(&identifier(&filter)));
        }
    }
}
