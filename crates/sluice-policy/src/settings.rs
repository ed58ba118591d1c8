//! Expressions in the settings of brokers, when an API is deployed: what has a value before any client comes gets
//! it, once; what reads a client or a message stays, where a setting can differ from one to the next.
//!
//! Those that stay are evaluated in `topics` and `client_settings`.

use std::{borrow::Cow, sync::Arc};

use sluice_api::{Broker, BrokerConfig, EventApi, ExpressionSetting, Problem, SettingScope, has_expression};
use sluice_expression::{Api, Environment, EvalContext, Piece};

use crate::{
    compile,
    site::{Needs, Site},
    topics::named,
};

/// The setting that names the group of a client.
const GROUP: &str = "consumer.groupId";
const INVALID: &str = "endpoints.configuration.invalid";
const ONE_FOR_ALL: &str = "All clients share this setting: it gets its value when the API is deployed, from \
                           #properties, #dictionaries, #secrets, #api or #node. Only topics, routing keys, record keys, groups, \
                           credentials and names within the broker can differ from client to client.";

/// The API with values in place of the expressions in its broker settings, as far as they are known before a client
/// comes. What is made is still to be validated: rules on such settings had to wait for it.
///
/// # Errors
/// All problems at once, each with its path in the API: an expression that does not parse, has no value, reads a
/// client where all clients share one value, or would show a secret.
pub fn with_values<'a>(
    api: &'a EventApi,
    environment: &Environment,
) -> Result<Cow<'a, EventApi>, Vec<Problem>> {
    let dynamic = |broker: &Broker| broker.configuration.has_expressions(|_| true);
    if !api.brokers.iter().any(dynamic) {
        return Ok(Cow::Borrowed(api));
    }
    let (mut made, mut problems) = (api.clone(), Vec::new());
    let seen = compile::seen(api);
    for (index, broker) in made.brokers.iter_mut().enumerate().filter(|(_, broker)| dynamic(broker)) {
        let place = Place { api, broker: &api.brokers[index], seen: &seen, environment };
        match place.broker.with_values(|setting| place.value(setting)) {
            Ok(with_values) => *broker = with_values,
            Err(found) => {
                let path = format!("brokers[{index}]");
                problems.extend(found.into_iter().map(|problem| problem.within(&path)));
            }
        }
    }
    if problems.is_empty() { Ok(Cow::Owned(made)) } else { Err(problems) }
}

/// Where a setting stands.
struct Place<'a> {
    api: &'a EventApi,
    broker: &'a Broker,
    seen: &'a Api,
    environment: &'a Environment,
}

impl Place<'_> {
    /// The value of a setting; `None` where each client or message has its own.
    fn value(&self, setting: ExpressionSetting<'_>) -> Result<Option<String>, Problem> {
        let refuse = |message: String| Err(Problem::new(setting.path, INVALID, message));
        let (credentials, needs) = (Arc::default(), Needs::default());
        let has_message = setting.scope == SettingScope::Message && !self.is_read(setting);
        let site =
            Site { environment: self.environment, credentials: &credentials, has_message, needs: &needs };
        let expression = site.text(setting.path, setting.text)?;
        let shown = !setting.secret
            && !setting.path.starts_with("security.")
            && !setting.path.to_ascii_lowercase().ends_with("username");
        if shown && expression.secrets().next().is_some() {
            return refuse("This setting is shown and logged, so no secret may stand in it.".to_owned());
        }
        if !expression.is_known_beforehand() {
            return self.unfit_for_clients(setting).map_or(Ok(None), |message| refuse(message.to_owned()));
        }
        let context = EvalContext::new().with_api(self.seen).with_environment(self.environment);
        let pieces = match expression.pieces(&context) {
            Ok(pieces) => pieces,
            Err(error) => return refuse(format!("The expression has no value: {error}")),
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Written(plain) => text.push_str(plain),
                Piece::Evaluated(Some(value)) if !value.is_empty() => text.push_str(&value),
                Piece::Evaluated(_) => {
                    return refuse(
                        "The expression came to nothing; name something that the gateway has.".to_owned(),
                    );
                }
            }
        }
        if has_expression(&text) {
            return refuse("The expression came to a text with another expression in it.".to_owned());
        }
        Ok(Some(text))
    }

    /// Whether clients are sent what comes from this topic, or are in this group, which then has to be known before
    /// there is a message.
    fn is_read(&self, setting: ExpressionSetting<'_>) -> bool {
        if setting.path == GROUP {
            return true;
        }
        let delivers = self.api.receivers.iter().any(|receiver| receiver.configuration.delivers());
        let read = self.broker.configuration.deliver_topics().unwrap_or_default();
        delivers && read.contains(&setting.text)
    }

    /// Why a setting cannot have a value for each client or message.
    fn unfit_for_clients(&self, setting: ExpressionSetting<'_>) -> Option<&'static str> {
        let dead_letters = self.api.receivers.iter().filter_map(|receiver| receiver.dlq.as_ref());
        let mut dead_letters = dead_letters.filter_map(|dlq| self.api.dead_letter_broker(&dlq.endpoint));
        if setting.scope == SettingScope::Api {
            Some(ONE_FOR_ALL)
        } else if setting.text.starts_with('^') {
            Some("A pattern is the author's alone: nothing of a client or a message may stand in it.")
        } else if dead_letters.any(|broker| std::ptr::eq(broker, self.broker)) {
            Some("Dead letters go to this broker: they have no client, and keep the key of their message.")
        } else if setting.scope == SettingScope::Client {
            None
        } else if self.names_nothing() && !setting.path.ends_with(".key") && setting.path != GROUP {
            Some(
                "The log is shared by all APIs, so an expression chooses among the topics that these settings name. \
                 Name them under 'topics', and put the expression under 'producer' or 'consumer'.",
            )
        } else {
            None
        }
    }

    /// Whether of a broker without permissions of its own no topic is named, so that none could be chosen.
    fn names_nothing(&self) -> bool {
        named(&self.broker.configuration).is_empty()
            && matches!(self.broker.configuration, BrokerConfig::Log(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tests::{api, environment};

    fn made(kind: &str, settings: &Value) -> Result<EventApi, Vec<(String, String)>> {
        with(&json!({ "brokers": [{ "name": "b", "type": kind, "configuration": settings }] }))
    }

    fn with(fields: &Value) -> Result<EventApi, Vec<(String, String)>> {
        let mut fields = fields.clone();
        fields["properties"] =
            json!([{ "key": "host", "value": "broker.example" }, { "key": "brace", "value": "{#x}" }]);
        let made = with_values(&api(fields), &environment()).map(Cow::into_owned);
        made.map_err(|found| found.into_iter().map(|problem| (problem.path, problem.message)).collect())
    }

    #[test]
    fn settings_get_their_values_from_properties_dictionaries_and_secrets() {
        let made = made(
            "kafka",
            &json!({
                "bootstrapServers": "{#properties['host']}:9092",
                "topics": ["{#dictionaries['words']['one']}", "orders-{#request.headers['x'][0]}"],
                "security": { "protocol": "SASL_PLAINTEXT", "sasl": { "saslMechanism": "PLAIN", "saslJaasConfig":
                    "x required username=\"me\" password=\"{#secrets.get('pin')}\";" } },
            }),
        );
        let made = made.unwrap();
        let BrokerConfig::Kafka(kafka) = &made.brokers[0].configuration else { panic!() };
        assert_eq!(kafka.bootstrap_servers, "broker.example:9092");
        assert_eq!(kafka.topics, ["eins", "orders-{#request.headers['x'][0]}"]);
        let sasl = kafka.security.as_ref().unwrap().sasl.as_ref().unwrap();
        assert!(sasl.sasl_jaas_config.as_ref().unwrap().expose().contains("password=\"1234\""));
        assert!(!format!("{made:?}").contains("1234"), "what was a secret stays one");
        assert!(made.validate().is_empty());
    }

    #[test]
    fn an_api_without_expressions_is_taken_as_it_is() {
        let api = api(json!({}));
        assert!(matches!(with_values(&api, &environment()), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn what_can_have_no_value_is_refused_with_its_path() {
        let mqtt = |host: &str, topic: &str| {
            let topics = json!({ "topic": topic });
            let settings =
                json!({ "serverHost": host, "serverPort": 1, "consumer": topics, "producer": topics });
            let mut problems = made("mqtt5", &settings).unwrap_err();
            assert!(
                problems.iter().all(|(path, _)| path.starts_with("brokers[0].configuration.")),
                "{problems:?}"
            );
            problems.remove(0).1
        };
        for (host, why) in [
            ("{#request.host}", "All clients share"),
            ("{#context.attributes['x']}", "All clients share"),
            ("{#properties['none']}", "came to nothing"),
            ("host-{#properties['none']}", "came to nothing"),
            ("{#properties['brace']}", "another expression"),
            ("{#secrets.get('pin')}", "no secret may stand"),
            ("{#secrets.get('none')}", "no secret 'none'"),
            ("{#nothing}", "Column"),
            ("{#message.id}", "no message"),
        ] {
            let told = mqtt(host, "t");
            assert!(told.contains(why), "{host}: {told}");
        }
        assert!(
            mqtt("h", "{#message.id}").contains("no message"),
            "what is read is known before there is a message"
        );
    }

    #[test]
    fn patterns_and_dead_letters_are_not_made_of_clients() {
        let kafka = |topics: Value| json!({ "bootstrapServers": "k:1", "consumer": { "topics": topics }, "topics": ["t"] });
        let problems = made("kafka", &kafka(json!(["^orders-{#request.id}"]))).unwrap_err();
        assert!(problems[0].1.contains("pattern"), "{problems:?}");
        let problems = with(&json!({
            "receivers": [{ "type": "webhook", "dlq": { "endpoint": "letters" } }],
            "brokers": [
                { "name": "b", "type": "kafka", "configuration": kafka(json!(["t"])) },
                { "name": "letters", "type": "log", "configuration": {
                    "topics": ["l"], "producer": { "topics": ["{#request.id}"], "key": "{#message.id}" } } },
            ],
        }));
        let paths: Vec<_> = problems.unwrap_err().into_iter().map(|(path, _)| path).collect();
        let of = |field: &str| format!("brokers[1].configuration.producer.{field}");
        assert_eq!(paths, [of("key"), of("topics[0]")]);
    }

    #[test]
    fn of_the_shared_log_the_topics_to_choose_among_must_be_named() {
        let problems = made("log", &json!({ "topics": ["orders-{#request.id}"] })).unwrap_err();
        assert!(problems[0].1.contains("Name them under 'topics'"), "{problems:?}");
        assert!(
            made(
                "log",
                &json!({ "topics": ["orders-1"], "consumer": { "topics": ["orders-{#request.id}"] } })
            )
            .is_ok()
        );
    }
}
