//! What the topics of a journal are called: by its API, and in the log that journals share.
//!
//! A topic of a broker may be a pattern, and one API's may be called like another's; the log takes letters and digits
//! only and is one for all. So a topic is named there by a digest of what it is of: API, name and address of the
//! broker, and its own name. What the log says of places and positions is put back in the API's words here.

use sha2::{Digest, Sha256};
use sluice_api::{ApiId, Broker};
use sluice_message::{Place, Position, Topic};

use crate::{Bounds, DriverError, ErrorKind};

/// The topics of one journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// What tells this broker of this API from all others.
    home: String,
    topics: Vec<Name>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// As the API reads it.
    pub(super) wanted: Topic,
    /// As the log holds it.
    pub(super) stored: Topic,
}

impl Names {
    pub(super) fn new(api: &ApiId, broker: &Broker, topics: &[Topic]) -> Self {
        let address = broker.configuration.address();
        let home = [&*api.0, &*broker.name, &*address];
        let mut known: Vec<Name> = Vec::with_capacity(topics.len());
        for wanted in topics {
            if known.iter().all(|name| name.wanted != *wanted) {
                let stored = digest(home.into_iter().chain([wanted.as_str()]));
                known.push(Name { wanted: wanted.clone(), stored: Topic::from(stored) });
            }
        }
        Self { home: digest(home), topics: known }
    }

    /// Another text for each broker of each API, and the same one for as long as its address is the same.
    pub(super) fn home(&self) -> &str {
        &self.home
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.topics.iter()
    }

    /// What a topic is called in the log, and where it stands in the journal.
    pub(super) fn stored(&self, wanted: &Topic) -> Result<(usize, &Topic), DriverError> {
        let mut names = self.topics.iter().enumerate();
        let found = names.find(|(_, name)| name.wanted == *wanted);
        found.map(|(index, name)| (index, &name.stored)).ok_or_else(|| {
            let text = format!(
                "The topic {wanted} is none that the settings of the broker name, and only those are kept in the \
                 gateway's journal: topics that policies choose can be read live only. Name it in the settings, or \
                 let no receiver of the API promise more than 'auto'."
            );
            DriverError::new(ErrorKind::Unsupported, text)
        })
    }

    /// A place of the log as one of the API's topic.
    pub(super) fn place_outside(&self, place: &Place) -> Option<Place> {
        let topic = self.wanted(&place.topic)?.clone();
        Some(Place { topic, ..*place })
    }

    /// A position of the API's topics as one of the log. What it says of other topics is left out, as any reader does.
    pub(super) fn position_inside(&self, position: &Position) -> Position {
        self.renamed(position, |wanted| self.stored(wanted).ok().map(|(_, stored)| stored))
    }

    /// A position of the log as one of the API's topics.
    pub(super) fn position_outside(&self, position: &Position) -> Position {
        self.renamed(position, |stored| self.wanted(stored))
    }

    /// The bounds of topics of the log as those of the API's.
    pub(super) fn bounds_outside(&self, bounds: Bounds) -> Bounds {
        let renamed = bounds.into_iter().filter_map(|((stored, partition), range)| {
            self.wanted(&stored).map(|wanted| ((wanted.clone(), partition), range))
        });
        renamed.collect()
    }

    /// An error of the log in words of the API.
    pub(super) fn told(&self, error: DriverError) -> DriverError {
        let mut message = error.message;
        for name in &self.topics {
            message = message.replace(name.stored.as_str(), name.wanted.as_str());
        }
        DriverError { message, ..error }
    }

    fn wanted(&self, stored: &Topic) -> Option<&Topic> {
        self.topics.iter().find(|name| name.stored == *stored).map(|name| &name.wanted)
    }

    fn renamed<'n>(&self, position: &Position, name: impl Fn(&Topic) -> Option<&'n Topic>) -> Position {
        let mut renamed = Position::new();
        for (topic, partition, next) in position.nexts() {
            if let Some(topic) = name(topic) {
                renamed.set_next(topic, partition, next);
            }
        }
        renamed
    }
}

/// Letters and digits that stand for these texts, and for no others.
pub(super) fn digest<'t>(parts: impl IntoIterator<Item = &'t str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_message::{Offset, Partition};

    use super::*;

    fn names(api: &str, broker: &str, host: &str, topics: &[&str]) -> Names {
        let settings = json!({ "serverHost": host, "serverPort": 1883, "topic": "t" });
        let broker = Broker::parse(broker, "mqtt5", Some(settings)).unwrap();
        let topics: Vec<Topic> = topics.iter().copied().map(Topic::from).collect();
        Names::new(&ApiId(api.to_owned()), &broker, &topics)
    }

    #[test]
    fn the_same_topic_of_another_api_broker_or_address_is_another() {
        let one = names("a", "b", "c", &["t", "u", "t"]);
        assert_eq!(one, names("a", "b", "c", &["t", "u"]));
        let others =
            [names("a", "b", "d", &["t"]), names("a", "c", "c", &["t"]), names("ab", "", "c", &["t"])];
        let mut seen = vec![one.topics[0].stored.clone(), one.topics[1].stored.clone()];
        for other in others {
            assert!(other.home() != one.home() && !seen.contains(&other.topics[0].stored));
            seen.push(other.topics[0].stored.clone());
        }
    }

    #[test]
    fn positions_come_back_as_they_went_in() {
        let names = names("a", "b", "c", &["plants/+/oil", "#"]);
        let mut position = Position::new();
        position.set_next(&Topic::from("#"), Partition(0), Offset(7));
        position.set_next(&Topic::from("plants/+/oil"), Partition(0), Offset(0));
        let inside = names.position_inside(&position);
        assert!(
            inside.nexts().all(|(topic, ..)| topic.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()))
        );
        assert_eq!(names.position_outside(&inside), position);
        position.set_next(&Topic::from("other"), Partition(0), Offset(1));
        assert_eq!(names.position_inside(&position), inside);
    }

    #[test]
    fn errors_of_the_log_name_the_topics_of_the_api() {
        let names = names("a", "b", "c", &["plants/+/oil"]);
        let stored = &names.topics[0].stored;
        let error =
            names.told(DriverError::new(ErrorKind::PositionLost, format!("The topic {stored} is short.")));
        assert_eq!(error.message, "The topic plants/+/oil is short.");
        let error = names.stored(&Topic::from("plants/1/oil")).unwrap_err();
        assert!(error.kind == ErrorKind::Unsupported && error.message.contains("plants/1/oil"), "{error}");
    }
}
