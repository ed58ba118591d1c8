//! Topics to read that are patterns: `^` and a regular expression that the whole name of a topic must match.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use regex::{Regex, RegexBuilder};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::Topic;

/// How large a pattern may become when it is compiled, in bytes.
const MAX_COMPILED: usize = 1 << 20;
/// Patterns kept compiled. Policies can make more of them, which are compiled again.
const KEPT: usize = 256;
/// What the names of topics begin with that Kafka has for itself.
const INTERNAL: &str = "__";

/// Whether a topic to read is a pattern. No topic has such a name.
pub(crate) fn is_pattern(topic: &Topic) -> bool {
    topic.as_str().starts_with('^')
}

/// The patterns of a driver, compiled.
#[derive(Debug, Default)]
pub(crate) struct Patterns(Mutex<HashMap<Topic, Arc<Regex>>>);

impl Patterns {
    /// What these topics ask for.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::NoTopic`], where one is no regular expression.
    pub(crate) fn wanted(&self, topics: &[Topic]) -> Result<Wanted, DriverError> {
        let (patterns, named): (Vec<&Topic>, Vec<&Topic>) =
            topics.iter().partition(|topic| is_pattern(topic));
        let patterns =
            patterns.into_iter().map(|pattern| self.compiled(pattern)).collect::<Result<_, _>>()?;
        Ok(Wanted { named: named.into_iter().cloned().collect(), patterns })
    }

    /// Whether a reader of `wanted` is handed messages of `topic`.
    pub(crate) fn covers(&self, wanted: &Topic, topic: &Topic) -> bool {
        wanted == topic
            || (is_pattern(wanted)
                && self.compiled(wanted).is_ok_and(|pattern| matches(&pattern, topic.as_str())))
    }

    fn compiled(&self, topic: &Topic) -> Result<Arc<Regex>, DriverError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = kept.get(topic) {
            return Ok(pattern.clone());
        }
        let text = topic.as_str().trim_start_matches('^');
        let pattern = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(MAX_COMPILED).build();
        let pattern = pattern.map_err(|error| {
            let text = format!("'{topic}' is no pattern of topics: {error}");
            DriverError::new(ErrorKind::NoTopic, text)
        })?;
        if kept.len() >= KEPT {
            kept.clear();
        }
        let pattern = Arc::new(pattern);
        kept.insert(topic.clone(), pattern.clone());
        Ok(pattern)
    }
}

/// The topics to read, as they are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Those that must be there.
    pub(crate) named: Vec<Topic>,
    patterns: Vec<Arc<Regex>>,
}

impl Wanted {
    /// Whether topics may come and go.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether a topic of the cluster is read for a pattern.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, name))
            && !self.named.iter().any(|topic| topic.as_str() == name)
    }
}

fn matches(pattern: &Regex, name: &str) -> bool {
    !name.starts_with(INTERNAL) && pattern.is_match(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::from(name)
    }

    #[test]
    fn a_pattern_covers_names_that_it_matches_as_a_whole_and_no_internal_ones() {
        let patterns = Patterns::default();
        let covers = |wanted: &str, name: &str| patterns.covers(&topic(wanted), &topic(name));
        assert!(covers("orders", "orders"));
        assert!(!covers("orders", "orders.eu"));
        assert!(covers(r"^orders\..*", "orders.eu"));
        assert!(!covers(r"^orders\..*", "my.orders.eu"));
        assert!(!covers("^orders", "orders.eu"), "as a whole");
        assert!(covers("^a|b", "b") && !covers("^a|b", "ab"));
        assert!(covers("^.*", "a") && !covers("^.*", "__consumer_offsets"));
        assert!(!covers("^(", "("));
    }

    #[test]
    fn a_topic_that_is_named_is_not_read_for_a_pattern_as_well() {
        let patterns = Patterns::default();
        let wanted = patterns.wanted(&[topic("^a.*"), topic("ab")]).expect("they are sound");
        assert!(wanted.has_patterns() && wanted.named == [topic("ab")]);
        assert!(wanted.matches("ac") && !wanted.matches("ab") && !wanted.matches("b"));
        assert_eq!(patterns.wanted(&[topic("^(")]).err().map(|error| error.kind), Some(ErrorKind::NoTopic));
    }

    #[test]
    fn patterns_kept_are_bounded() {
        let patterns = Patterns::default();
        for number in 0..=KEPT {
            assert!(patterns.covers(&topic(&format!("^a{number}")), &topic(&format!("a{number}"))));
        }
        assert!(patterns.0.lock().unwrap().len() <= KEPT);
    }
}
