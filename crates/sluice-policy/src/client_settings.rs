//! Broker settings that differ from client to client: who logs in, and where at the broker. What they come to for a
//! client is found out here, once, when it comes; the connection that it then has is made by the gateway.
//!
//! Topics and record keys, which need no other connection, are chosen in `topics`.

use std::{fmt, sync::Arc};

use serde_json::Value;
use sha2::{Digest, Sha256};
use sluice_api::{Broker, EventApi, Problem, SettingScope, has_expression};
use sluice_expression::{Expression, Piece};
use sluice_message::Attributes;

use crate::{Caller, Misled, site::Site, steering};

/// Bytes of a value, which may be a token.
const MAX_VALUE: usize = 8192;

/// What there is of an exchange's name in AMQP 0-9-1 (section 3.1.3.1), shortened so that ours fit in beside it.
const MAX_EXCHANGE_NAME: usize = 120;

/// The settings of an event API's brokers that clients can have values of their own for.
#[derive(Debug, Default)]
pub struct ClientSettings(Vec<Setting>);

#[derive(Debug)]
struct Setting {
    /// Of the broker in the definition.
    broker: usize,
    path: &'static str,
    /// As it is written, where an expression stands in it.
    expression: Option<Expression>,
    /// The attributes by which policies choose another value, where a policy of the API does so.
    attributes: Vec<String>,
}

/// What the settings come to for a client. Clients with the same values have the same brokers and may do the same
/// there, so they share connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientValues(Arc<[Chosen]>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Chosen {
    broker: usize,
    path: &'static str,
    text: Box<str>,
}

impl fmt::Debug for ClientValues {
    /// Without the values, which may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|chosen| (chosen.broker, chosen.path))).finish()
    }
}

impl ClientSettings {
    /// Those of an API in which everything that is known when it is deployed has its value. With `attributes` a policy
    /// of the API may choose values.
    pub(crate) fn compile(api: &EventApi, attributes: bool, site: &Site<'_>) -> Result<Self, Vec<Problem>> {
        let (mut settings, mut problems) = (Vec::new(), Vec::new());
        for (index, broker) in api.brokers.iter().enumerate() {
            let mut written = Vec::new();
            let found = broker.with_values(|setting| {
                if setting.scope == SettingScope::Client {
                    written.push((setting.path.to_owned(), site.text(setting.path, setting.text)?));
                }
                Ok(None)
            });
            if let Err(found) = found {
                let path = format!("brokers[{index}]");
                problems.extend(found.into_iter().map(|problem| problem.within(&path)));
            }
            for path in broker.configuration.client_settings() {
                let expression = written.iter().position(|(of, _)| of == path);
                let expression = expression.map(|at| written.swap_remove(at).1);
                let attributes = if attributes { names(broker, path) } else { Vec::new() };
                if expression.is_some() || !attributes.is_empty() {
                    settings.push(Setting { broker: index, path, expression, attributes });
                }
            }
        }
        if problems.is_empty() { Ok(Self(settings)) } else { Err(problems) }
    }

    /// Whether all clients have the same settings.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they come to for a client; `None` where it has no value of its own.
    ///
    /// # Errors
    /// A setting has no value for it, or one that cannot stand there.
    pub fn of(&self, caller: &Caller) -> Result<Option<ClientValues>, Misled> {
        let mut values = Vec::new();
        for Setting { broker, path, expression, attributes } in &self.0 {
            let text = match (noted(attributes, caller.attributes()), expression) {
                (Some(noted), _) => Some(whole(path, noted)?),
                (None, Some(expression)) => Some(evaluated(path, expression, caller)?),
                (None, None) => None,
            };
            values.extend(text.map(|text| Chosen { broker: *broker, path, text: text.into() }));
        }
        Ok((!values.is_empty()).then(|| ClientValues(values.into())))
    }

    /// Some values, to find out before any client comes whether the settings beside them can work.
    pub fn example(&self) -> Option<ClientValues> {
        let written = self.0.iter().filter_map(|setting| Some((setting, setting.expression.as_ref()?)));
        let values: Vec<_> = written
            .map(|(setting, expression)| Chosen {
                broker: setting.broker,
                path: setting.path,
                text: expression.with("x").into(),
            })
            .collect();
        (!values.is_empty()).then(|| ClientValues(values.into()))
    }
}

impl ClientValues {
    /// Who clients with these values are at the broker, in 64 characters: another text for another user, the same one
    /// for another password of the same user. Without a user of the client's own its password says who it is, as a
    /// token does.
    pub fn whose(&self) -> String {
        let has_user = |of: usize| {
            let user = |path: &str| path.ends_with("username") || path.ends_with("oauth.clientId");
            self.0.iter().any(|chosen| chosen.broker == of && user(chosen.path))
        };
        let mut digest = Sha256::new();
        for Chosen { broker, path, text } in self.0.iter() {
            let is_proof = path.ends_with("password") || path.ends_with("clientSecret");
            if !(is_proof && has_user(*broker)) {
                // The length, so that no two lists read the same.
                digest.update(format!("{broker} {path} {}:{text}", text.len()));
            }
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The API as it is for clients with these values.
    ///
    /// # Errors
    /// What the settings with them break.
    pub fn put_into(&self, api: &EventApi) -> Result<EventApi, Vec<Problem>> {
        let (mut made, mut problems) = (api.clone(), Vec::new());
        for (index, broker) in made.brokers.iter_mut().enumerate() {
            let own = self.0.iter().filter(|chosen| chosen.broker == index);
            let texts: Vec<_> = own.map(|chosen| (chosen.path, &*chosen.text)).collect();
            if texts.is_empty() {
                continue;
            }
            match broker.with_settings(&texts) {
                Ok(with_settings) => *broker = with_settings,
                Err(found) => {
                    let path = format!("brokers[{index}]");
                    problems.extend(found.into_iter().map(|problem| problem.within(&path)));
                }
            }
        }
        if problems.is_empty() { Ok(made) } else { Err(problems) }
    }
}

/// The attributes that choose a setting; of an exchange that is not used none is chosen.
fn names(broker: &Broker, path: &str) -> Vec<String> {
    let configuration = &broker.configuration;
    let is_used = match path.split_once('.').map(|(side, _)| side) {
        Some("producer") => configuration.publish_topics().is_some(),
        Some("consumer") => configuration.deliver_topics().is_some(),
        _ => true,
    };
    if is_used { steering::setting_names(configuration.kind(), path) } else { Vec::new() }
}

/// What a policy has noted; null chooses nothing.
fn noted<'a>(names: &[String], attributes: &'a Attributes) -> Option<&'a Value> {
    names.iter().find_map(|name| attributes.get(name).filter(|value| !value.is_null()))
}

/// A value as a policy has made it, from its first character to its last.
fn whole(path: &'static str, value: &Value) -> Result<String, Misled> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(Misled::UnfitSetting { path }),
    };
    if fits(path, &text) { Ok(text) } else { Err(Misled::UnfitSetting { path }) }
}

fn evaluated(path: &'static str, expression: &Expression, caller: &Caller) -> Result<String, Misled> {
    let no_value = |reason: String| Misled::NoValue { of: path, reason };
    let context = caller.context();
    let pieces = expression.pieces(&context).map_err(|error| no_value(error.to_string()))?;
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Written(plain) => text.push_str(plain),
            Piece::Evaluated(Some(value)) if value.is_empty() => {
                return Err(no_value("What it is made of is empty.".to_owned()));
            }
            Piece::Evaluated(Some(value)) if comes_in(path, &value) => text.push_str(&value),
            Piece::Evaluated(Some(_)) => return Err(Misled::UnfitSetting { path }),
            Piece::Evaluated(None) => return Err(no_value("What it is made of is missing.".to_owned())),
        }
    }
    if fits(path, &text) { Ok(text) } else { Err(Misled::UnfitSetting { path }) }
}

/// Whether a value can stand in a setting.
fn fits(path: &str, text: &str) -> bool {
    let sound =
        (1..=MAX_VALUE).contains(&text.len()) && !text.chars().any(char::is_control) && !has_expression(text);
    // A client that chooses an exchange is not to reach those of the broker itself, nor to have odd ones made.
    let is_name = |text: &str| {
        text.len() <= MAX_EXCHANGE_NAME
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
            && !text.starts_with("amq.")
    };
    sound && (!path.ends_with("exchange.name") || is_name(text))
}

/// Whether a part of a value that comes from a client stays the part that its author meant.
fn comes_in(path: &str, value: &str) -> bool {
    let ends = |sign: char| sign.is_whitespace() || matches!(sign, '"' | '\'' | '\\' | ';' | '=');
    !path.ends_with("saslJaasConfig") || !value.contains(ends)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_api::BrokerConfig;

    use super::*;
    use crate::{
        Chains,
        tests::{api, caller, connected, environment, step},
    };

    fn chains(kind: &str, settings: &Value, assigned: Option<(&str, &str)>) -> (EventApi, Chains) {
        let assign = |(name, value): (&str, &str)| json!([{ "connect": [step("assign-attributes", json!({ "attributes": [{ "name": name, "value": value }] }))] }]);
        let api = api(json!({
            "receivers": [{ "type": "http-post" }],
            "brokers": [{ "name": "b", "type": kind, "configuration": settings }],
            "flows": assigned.map_or_else(|| json!([]), assign),
        }));
        let chains = Chains::compile(&api, &environment(), &Arc::default()).unwrap();
        (api, chains)
    }

    fn kafka(user: &str, password: &str) -> Value {
        json!({ "bootstrapServers": "k:1", "topics": ["t"], "security": { "protocol": "SASL_PLAINTEXT",
            "sasl": { "saslMechanism": "PLAIN", "username": user, "password": password } } })
    }

    /// The user name and password that a client with these headers has at Kafka.
    fn credentials(
        settings: &Value,
        headers: &[(&'static str, &'static str)],
    ) -> Result<(String, String), Misled> {
        let (api, chains) = chains("kafka", settings, None);
        let values = chains.client_settings().of(&caller(&chains, "http-post", headers))?.unwrap();
        let made = values.put_into(&api).unwrap();
        let BrokerConfig::Kafka(kafka) = &made.brokers[0].configuration else { panic!() };
        let (user, password) = kafka.security.as_ref().unwrap().sasl.as_ref().unwrap().credentials().unwrap();
        Ok((user.clone(), password.expose().to_owned()))
    }

    #[test]
    fn a_client_has_the_credentials_that_it_brings() {
        let settings = kafka("{#request.headers['user'][0]}", "{#request.headers['pass'][0]}");
        let made = credentials(&settings, &[("user", "one"), ("pass", "a b")]).unwrap();
        assert_eq!(made, ("one".to_owned(), "a b".to_owned()));
        let missing = credentials(&settings, &[("user", "one")]).unwrap_err();
        assert!(matches!(missing, Misled::NoValue { of: "security.sasl.password", .. }), "{missing}");
        for bad in ["a\u{7f}b", "{#request.id}", ""] {
            assert!(credentials(&settings, &[("user", bad), ("pass", "p")]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_client_brings_stays_within_the_quotes_of_the_author() {
        let line = "x.PlainLoginModule required username=\"{#request.headers['user'][0]}\" password=\"p\";";
        let settings = json!({ "bootstrapServers": "k:1", "topics": ["t"], "security": { "protocol": "SASL_PLAINTEXT",
            "sasl": { "saslMechanism": "PLAIN", "saslJaasConfig": line } } });
        assert_eq!(credentials(&settings, &[("user", "one")]).unwrap().0, "one");
        for bad in ["a\" username=\"b", "a\\", "a;", "a b", "a=b", "a\tb"] {
            let refused = credentials(&settings, &[("user", bad)]).unwrap_err();
            assert!(matches!(refused, Misled::UnfitSetting { .. }), "{bad}");
        }
    }

    #[test]
    fn clients_with_the_same_values_share_them_and_nobody_sees_them() {
        let settings = kafka("{#request.headers['user'][0]}", "secret-{#request.headers['user'][0]}");
        let (_, chains) = chains("kafka", &settings, None);
        let of =
            |user| chains.client_settings().of(&caller(&chains, "sse", &[("user", user)])).unwrap().unwrap();
        assert!(of("one") == of("one") && of("one") != of("two"));
        assert!(!format!("{:?}", of("one")).contains("one"));
        assert_ne!(of("one").whose(), of("two").whose());
    }

    #[test]
    fn another_password_is_no_other_user_and_another_token_is_one() {
        let of = |settings: &Value, password: &'static str| {
            let (_, chains) = chains("kafka", settings, None);
            let caller = caller(&chains, "sse", &[("user", "one"), ("pass", password)]);
            chains.client_settings().of(&caller).unwrap().unwrap().whose()
        };
        let apart = kafka("{#request.headers['user'][0]}", "{#request.headers['pass'][0]}");
        assert_eq!(of(&apart, "a"), of(&apart, "b"));
        let token = kafka("fixed", "{#request.headers['pass'][0]}");
        assert_ne!(of(&token, "a"), of(&token, "b"));
    }

    #[tokio::test]
    async fn a_policy_chooses_an_exchange_for_a_client() {
        let settings = json!({ "serverHost": "h", "serverPort": 1,
            "producer": { "routingKey": "r", "exchange": { "name": "all", "type": "direct" } },
            "consumer": { "enabled": false } });
        let assigned = ("gravitee.attribute.rabbitmq.exchange", "{#request.headers['to']?.[0]}");
        let (api, chains) = chains("rabbitmq", &settings, Some(assigned));
        let of = async |headers: &[(&'static str, &'static str)]| {
            let caller = connected(&chains, caller(&chains, "http-post", headers)).await.unwrap();
            chains.client_settings().of(&caller)
        };
        assert_eq!(of(&[]).await.unwrap(), None, "null chooses nothing");
        let made = of(&[("to", "mine")]).await.unwrap().unwrap().put_into(&api).unwrap();
        let BrokerConfig::Rabbitmq(rabbitmq) = &made.brokers[0].configuration else { panic!() };
        let exchange = rabbitmq.producer.exchange.as_ref().unwrap();
        assert_eq!((&*exchange.name, &*exchange.kind), ("mine", "direct"));
        assert!(rabbitmq.consumer.exchange.is_none(), "nothing is read there");
        for bad in ["amq.topic", "a/b", "a b"] {
            assert!(of(&[("to", bad)]).await.is_err(), "{bad}");
        }
    }

    #[test]
    fn an_api_whose_clients_are_alike_has_none() {
        let (_, chains) = chains("kafka", &kafka("u", "p"), None);
        assert!(chains.client_settings().is_empty() && chains.client_settings().example().is_none());
    }

    #[test]
    fn an_example_shows_whether_the_rest_can_work() {
        let (api, chains) = chains("kafka", &kafka("{#request.id}", "a-{#request.id}"), None);
        let made = chains.client_settings().example().unwrap().put_into(&api).unwrap();
        assert!(made.validate().is_empty() && !made.brokers[0].configuration.waits_for_clients());
    }
}
