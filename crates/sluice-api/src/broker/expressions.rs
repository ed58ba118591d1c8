//! Expressions in the settings of a broker: which settings may have some, and putting values in their place. What
//! an expression means is not known here; `sluice-policy` evaluates them when an API is deployed.

use serde_json::Value;

use super::{Broker, BrokerConfig};
use crate::{Problem, problem::join};

/// What begins an expression after a brace; spaces may stand between.
const OPENINGS: [&str; 3] = ["#", "(", "T("];

/// The settings that are worked out for each message or client, where their expression reads one. Items of lists
/// stand under the name of their list.
const PER_CLIENT: [&str; 10] = [
    "topic",
    "topics",
    "producer.topic",
    "producer.topics",
    "producer.routingKey",
    "producer.key",
    "consumer.topic",
    "consumer.topics",
    "consumer.routingKey",
    "consumer.groupId",
];

/// The settings of each kind that a client may have a value of its own for, and with it a connection of its own: who
/// logs in, where at the broker. Never an address or a file: who may choose these can have the gateway call or
/// read whatever it reaches.
const PER_CONNECTION: [(&str, &[&str]); 5] = [
    (
        "kafka",
        &[
            "clientId",
            "security.sasl.saslMechanism",
            "security.sasl.saslJaasConfig",
            "security.sasl.username",
            "security.sasl.password",
            "security.sasl.oauth.clientId",
            "security.sasl.oauth.clientSecret",
            "security.sasl.oauth.scope",
        ],
    ),
    ("mqtt5", &["security.auth.username", "security.auth.password"]),
    ("solace", &["vpnName", "security.auth.username", "security.auth.password"]),
    ("amqp", &["security.auth.username", "security.auth.password"]),
    (
        "rabbitmq",
        &[
            "virtualHost",
            "security.auth.username",
            "security.auth.password",
            "producer.exchange.name",
            "consumer.exchange.name",
        ],
    ),
];

/// Who has a value of a setting, where its expression reads a client or a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingScope {
    /// The whole API: such an expression cannot stand there.
    Api,
    /// Each client, which then has a connection of its own, shared with those of the same values.
    Client,
    /// Each client and each message.
    Message,
}

/// Whether an expression stands in a text: `{#…}`, `{(…)}` or `{T(…)…}`.
pub fn has_expression(text: &str) -> bool {
    text.match_indices('{').any(|(at, brace)| {
        let inside = text[at + brace.len()..].trim_start_matches(' ');
        OPENINGS.iter().any(|opening| inside.starts_with(opening))
    })
}

/// A setting in which an expression stands.
#[derive(Debug, Clone, Copy)]
pub struct ExpressionSetting<'a> {
    /// Relative to the settings, as `producer.topics[0]`.
    pub path: &'a str,
    /// As it is written.
    pub text: &'a str,
    /// Whether its value is hidden from everybody.
    pub secret: bool,
    /// Who may have a value of its own.
    pub scope: SettingScope,
}

impl Broker {
    /// The same broker with values in place of the expressions in its settings: `evaluate` gives the text for each,
    /// or `None` where it is to stay as it is. Paths in problems are relative to the broker.
    ///
    /// # Errors
    /// What `evaluate` refuses, all of it; or a value that does not fit the setting.
    pub fn with_values(
        &self,
        mut evaluate: impl FnMut(ExpressionSetting<'_>) -> Result<Option<String>, Problem>,
    ) -> Result<Self, Vec<Problem>> {
        let (mut problems, kind) = (Vec::new(), self.configuration.kind());
        let mut value_of = |path: &str, text: &str, secret| {
            let setting = ExpressionSetting { path, text, secret, scope: scope(kind, path) };
            let value = if has_expression(text) { evaluate(setting) } else { Ok(None) };
            value.unwrap_or_else(|problem| {
                problems.push(problem.within("configuration"));
                None
            })
        };
        let mut settings = self.configuration.to_value();
        each_text(&mut settings, "", &mut |path, text| {
            if let Some(value) = value_of(path, text, false) {
                *text = value;
            }
        });
        let mut made =
            Self::parse(&self.name, &self.connector, Some(settings)).map_err(|problem| vec![problem])?;
        // They were masked on the way.
        let mut own = self.configuration.clone();
        for ((path, secret), (_, hidden)) in
            made.configuration.secrets_mut().into_iter().zip(own.secrets_mut())
        {
            let value = value_of(&path, hidden.expose(), true);
            *secret = value.map_or_else(|| hidden.clone(), crate::Secret::new);
        }
        if problems.is_empty() {
            Ok(Self { configuration: made.configuration, ..self.clone() })
        } else {
            Err(problems)
        }
    }

    /// The same broker with these texts as these [settings of a client](BrokerConfig::client_settings), whether they
    /// were there before or not. Paths in problems are relative to the broker.
    ///
    /// # Errors
    /// What the settings break as a whole; a text that one of them cannot have.
    pub fn with_settings(&self, texts: &[(&str, &str)]) -> Result<Self, Vec<Problem>> {
        let mut settings = self.configuration.to_value();
        for (path, text) in texts {
            put(&mut settings, path, text);
        }
        let mut made =
            Self::parse(&self.name, &self.connector, Some(settings)).map_err(|problem| vec![problem])?;
        // The others were masked on the way.
        let mut own = self.configuration.clone();
        let mut own = own.secrets_mut();
        for (path, secret) in made.configuration.secrets_mut() {
            if texts.iter().all(|(other, _)| **other != path) {
                let hidden = own.iter_mut().find(|(other, _)| *other == path);
                *secret = hidden.map(|(_, hidden)| hidden.clone()).unwrap_or_default();
            }
        }
        let problems = made.configuration.problems();
        if problems.is_empty() {
            Ok(Self { configuration: made.configuration, ..self.clone() })
        } else {
            Err(problems.into_iter().map(|problem| problem.within("configuration")).collect())
        }
    }
}

impl BrokerConfig {
    /// Whether an expression stands in a setting that must have a value before anything can connect, so that rules
    /// on values cannot be checked yet.
    pub(crate) fn waits_for_values(&self) -> bool {
        let kind = self.kind();
        self.has_expressions(|path| scope(kind, path) != SettingScope::Message)
    }

    /// Whether, once an API has the values that are known when it is deployed, a setting has another one for each
    /// client, so that nobody can connect without one.
    pub fn waits_for_clients(&self) -> bool {
        let kind = self.kind();
        self.has_expressions(|path| scope(kind, path) == SettingScope::Client)
    }

    /// The paths of the settings that a client may have values of its own for, relative to the settings.
    pub fn client_settings(&self) -> &'static [&'static str] {
        client_settings(self.kind())
    }

    /// Whether an expression stands in any of these settings.
    pub fn has_expressions(&self, counts: impl Fn(&str) -> bool) -> bool {
        // Content of the mock is made up as it is written.
        if let Self::Mock(_) = self {
            return false;
        }
        let mut found = false;
        each_text(&mut self.to_value(), "", &mut |path, text| found |= counts(path) && has_expression(text));
        let mut own = self.clone();
        found
            || own.secrets_mut().iter().any(|(path, secret)| counts(path) && has_expression(secret.expose()))
    }
}

/// The paths of the settings that a client may have values of its own for, of a kind of broker.
pub fn client_settings(kind: &str) -> &'static [&'static str] {
    let known = PER_CONNECTION.iter().find(|(known, _)| *known == kind);
    known.map(|(_, settings)| *settings).unwrap_or_default()
}

fn scope(kind: &str, path: &str) -> SettingScope {
    let list = path.split_once('[').map_or(path, |(list, _)| list);
    if PER_CLIENT.contains(&list) {
        SettingScope::Message
    } else if client_settings(kind).contains(&path) {
        SettingScope::Client
    } else {
        SettingScope::Api
    }
}

/// Sets the text at a path of plain names.
fn put(settings: &mut Value, path: &str, text: &str) {
    let Value::Object(fields) = settings else { return };
    match path.split_once('.') {
        Some((field, below)) => {
            let inner = fields.entry(field).or_insert_with(|| Value::Object(serde_json::Map::new()));
            put(inner, below, text);
        }
        None => {
            fields.insert(path.to_owned(), Value::from(text));
        }
    }
}

fn each_text(value: &mut Value, path: &str, see: &mut impl FnMut(&str, &mut String)) {
    match value {
        Value::String(text) => see(path, text),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                each_text(item, &format!("{path}[{index}]"), see);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                each_text(field, &join(path, name), see);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::from_value;

    fn kafka() -> Broker {
        from_value(
            json!({ "name": "b", "type": "kafka-advanced", "group": "g", "weight": 3, "configuration": {
                "bootstrapServers": "{#properties['host']}:9092",
                "topics": ["plain", "{#request.headers['x'][0]}"],
                "security": { "protocol": "SASL_SSL", "sasl": {
                    "saslMechanism": "PLAIN", "username": "me", "password": "{#secrets.get('pw')}" } },
            }}),
        )
        .unwrap()
    }

    #[test]
    fn each_expression_is_asked_for_and_everything_else_stays() {
        let mut asked = Vec::new();
        let made = kafka().with_values(|setting| {
            asked.push((setting.path.to_owned(), setting.secret, setting.scope));
            Ok((setting.scope != SettingScope::Message).then(|| "value".to_owned()))
        });
        let made = made.unwrap();
        assert_eq!(
            asked,
            [
                ("bootstrapServers".to_owned(), false, SettingScope::Api),
                ("topics[1]".to_owned(), false, SettingScope::Message),
                ("security.sasl.password".to_owned(), true, SettingScope::Client),
            ]
        );
        assert_eq!(
            (&*made.name, &*made.group, made.weight, &*made.connector),
            ("b", "g", 3, "kafka-advanced")
        );
        let BrokerConfig::Kafka(kafka) = &made.configuration else { panic!() };
        let sasl = kafka.security.as_ref().unwrap().sasl.as_ref().unwrap();
        assert_eq!(kafka.bootstrap_servers, "value");
        assert_eq!(kafka.topics, ["plain", "{#request.headers['x'][0]}"]);
        assert_eq!(sasl.password.as_ref().unwrap().expose(), "value");
        assert_eq!(sasl.username.as_deref(), Some("me"));
        assert!(!made.configuration.waits_for_values() && made.configuration.has_expressions(|_| true));
    }

    #[test]
    fn a_secret_without_an_expression_outlives_its_mask() {
        let broker: Broker = from_value(json!({ "name": "b", "type": "mqtt5", "configuration": {
            "serverHost": "{#properties['host']}", "serverPort": 1883, "topic": "t",
            "security": { "auth": { "username": "me", "password": "hunter2" } },
        }}))
        .unwrap();
        assert!(broker.configuration.waits_for_values());
        let mut made = broker.with_values(|_| Ok(Some("h".to_owned()))).unwrap();
        let secrets = made.configuration.secrets_mut();
        assert_eq!(secrets.iter().map(|(_, secret)| secret.expose()).collect::<Vec<_>>(), ["hunter2"]);
    }

    #[test]
    fn settings_of_a_client_are_put_in_and_all_others_stay() {
        let broker: Broker =
            from_value(json!({ "name": "b", "type": "kafka", "weight": 2, "configuration": {
                "bootstrapServers": "k:1", "topics": ["t"],
                "security": { "protocol": "SASL_PLAINTEXT", "sasl": {
                    "saslMechanism": "PLAIN", "username": "{#request.id}", "password": "hunter2" } },
            }}))
            .unwrap();
        assert!(broker.configuration.waits_for_clients());
        let texts = [
            ("security.sasl.username", "me"),
            ("security.sasl.saslMechanism", "SCRAM-SHA-256"),
            ("clientId", "c"),
        ];
        let made = broker.with_settings(&texts).unwrap();
        let BrokerConfig::Kafka(kafka) = &made.configuration else { panic!() };
        let sasl = kafka.security.as_ref().unwrap().sasl.as_ref().unwrap();
        assert_eq!((sasl.username.as_deref(), kafka.client_id.as_deref()), (Some("me"), Some("c")));
        assert_eq!(sasl.password.as_ref().unwrap().expose(), "hunter2");
        assert_eq!((sasl.sasl_mechanism.as_str(), made.weight), ("SCRAM-SHA-256", 2));
        assert!(!made.configuration.waits_for_clients());
        let made = broker.with_settings(&[("security.sasl.password", "other")]).unwrap();
        let BrokerConfig::Kafka(kafka) = &made.configuration else { panic!() };
        let sasl = kafka.security.as_ref().unwrap().sasl.as_ref().unwrap();
        assert_eq!(sasl.password.as_ref().unwrap().expose(), "other");
    }

    #[test]
    fn settings_of_a_client_are_judged_like_written_ones() {
        let broker: Broker = from_value(json!({ "name": "b", "type": "mqtt5", "configuration": {
            "serverHost": "h", "serverPort": 1883, "topic": "t" }}))
        .unwrap();
        let path = |texts: &[(&str, &str)]| broker.with_settings(texts).unwrap_err().remove(0).path;
        assert_eq!(path(&[("security.auth.username", "")]), "configuration.security.auth.username");
        assert!(path(&[("security.auth.password", "x")]).starts_with("configuration.security.auth"));
        assert!(broker.with_settings(&[("security.auth.username", "u")]).is_ok());
    }

    #[test]
    fn no_address_and_no_file_is_a_setting_of_a_client() {
        for (kind, settings) in PER_CONNECTION {
            assert!(BrokerConfig::KINDS.contains(&kind));
            for setting in settings {
                let setting = setting.to_ascii_lowercase();
                for outward in ["host", "port", "url", "servers", "path", "location", "store"] {
                    assert!(setting == "virtualhost" || !setting.contains(outward), "{kind} {setting}");
                }
            }
        }
    }

    #[test]
    fn everything_that_is_refused_is_told_at_once_with_its_path() {
        let refuse =
            |setting: ExpressionSetting<'_>| Err(Problem::new(setting.path, "expression.invalid", "No."));
        let problems = kafka().with_values(refuse).unwrap_err();
        let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
        assert_eq!(
            paths,
            [
                "configuration.bootstrapServers",
                "configuration.topics[1]",
                "configuration.security.sasl.password",
            ]
        );
    }

    #[test]
    fn braces_alone_make_no_expression() {
        for (text, is) in [
            ("a-{#b}", true),
            ("{ #b}", true),
            ("{(1)}", true),
            ("{T(Math)}", true),
            ("{b}", false),
            ("#b", false),
        ] {
            assert_eq!(has_expression(text), is, "{text}");
        }
    }
}
