//! `websub-hmac-auth`: asks for a signature of the content, made with one of the API's webhook secrets.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt};
use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use sluice_api::{Problem, Secret, from_value};
use sluice_expression::{EvalContext, Request};
use sluice_message::Message;

use super::header_name;
use crate::{
    Caller, Credentials, Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    identity::{Brought, unauthorized},
    site::Site,
};

pub(crate) const ENTRY: Entry = Entry {
    id: "websub-hmac-auth",
    aliases: &[],
    versions: &["v1"],
    name: "Webhook signature",
    description: "Asks for a signature of the content, made with one of the webhook secrets of the API.",
    documentation: "The signature is written `sha256=` and hexadecimal digits. Any webhook secret of the API that is \
                    good at the moment may have made it. At `publish` it is of the payload as the policies before \
                    have left it, and looked for in the client's request, then in the message; at `deliver` in the \
                    message alone. At `subscribe` and `unsubscribe` it is of the body of the request. A client that \
                    connects by GET sends nothing, so at `connect` it is the signature of nothing, which whoever has \
                    seen it can repeat; one that posts is to be asked at `publish`. A signature that is missing or \
                    wrong is answered 401.",
    example: r#"{"algorithm": "sha256"}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `websub-hmac-auth`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The hash function. Default `sha256`.
    #[serde(default)]
    algorithm: Algorithm,
    /// The header that the signature stands in; `X-Hub-Signature-256` when absent, `X-Hub-Signature` for SHA-1.
    #[serde(default)]
    signature_header: Option<String>,
}

/// The hash function of a signature.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1. For senders that know no other.
    Sha1,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Sha512 => "sha512",
        }
    }

    const fn usual_header(self) -> &'static str {
        match self {
            Self::Sha1 => "X-Hub-Signature",
            Self::Sha256 | Self::Sha512 => "X-Hub-Signature-256",
        }
    }

    /// Whether a signature is of this content by this secret; compared in constant time.
    fn verifies(self, secret: &Secret, content: &[u8], signature: &[u8]) -> bool {
        let secret = secret.expose().as_bytes();
        match self {
            Self::Sha256 => verifies::<Hmac<Sha256>>(secret, content, signature),
            Self::Sha1 => verifies::<Hmac<Sha1>>(secret, content, signature),
            Self::Sha512 => verifies::<Hmac<Sha512>>(secret, content, signature),
        }
    }
}

fn verifies<M: Mac + KeyInit>(secret: &[u8], content: &[u8], signature: &[u8]) -> bool {
    let Ok(mac) = <M as KeyInit>::new_from_slice(secret) else { return false };
    mac.chain_update(content).verify_slice(signature).is_ok()
}

#[derive(Debug)]
struct WebsubHmacAuth {
    algorithm: Algorithm,
    header: String,
    credentials: Arc<Credentials>,
    hook: Hook,
}

fn build(configuration: Json, hook: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let Settings { algorithm, signature_header } =
        from_value(configuration).map_err(|problem| vec![problem])?;
    let header = signature_header.unwrap_or_else(|| algorithm.usual_header().to_owned());
    header_name("signatureHeader", &header).map_err(|problem| vec![problem])?;
    if hook != Hook::Deliver {
        site.read_request();
    }
    let credentials = Arc::clone(site.credentials);
    Ok(Arc::new(WebsubHmacAuth { algorithm, header, credentials, hook }))
}

impl WebsubHmacAuth {
    fn judged(&self, written: Option<&str>, content: &[u8]) -> Result<(), Box<Rejection>> {
        let refuse = |text: String| Err(unauthorized("policy.signature.invalid", text));
        let Some(written) = written else {
            return refuse(format!("A signature is needed in the header '{}'.", self.header));
        };
        let name = self.algorithm.name();
        let signature = match written.split_once('=') {
            Some((algorithm, digits)) if algorithm.eq_ignore_ascii_case(name) => from_hex(digits),
            _ => None,
        };
        let Some(signature) = signature else {
            return refuse(format!(
                "The signature in '{}' has to be '{name}=' and hexadecimal digits.",
                self.header
            ));
        };
        let secrets = self.credentials.secrets();
        if secrets.is_empty() {
            return refuse("This API has no secret that a signature could be checked with.".to_owned());
        }
        // No secret is passed over after one has fitted, so that the time tells nothing about which it was.
        let fits =
            secrets.iter().filter(|secret| self.algorithm.verifies(secret, content, &signature)).count() > 0;
        if fits { Ok(()) } else { refuse("The signature does not fit the content.".to_owned()) }
    }

    /// The signature that came with a message. What a client presented long ago is none of what it is sent now.
    fn with_message<'a>(&self, request: Option<&'a Request>, message: &'a Message) -> Option<&'a str> {
        let of_request = Brought::with(request.filter(|_| self.hook == Hook::Publish), None);
        let by_request = of_request.and_then(|brought| brought.header(&self.header));
        by_request.or_else(|| Brought::with(None, Some(message))?.header(&self.header))
    }
}

/// What a request has to be signed; `None` where it is not read yet.
fn content(request: &Request) -> Option<&[u8]> {
    let without = matches!(&*request.method, "GET" | "HEAD");
    request.content.as_deref().or_else(|| without.then_some(&[]))
}

/// The bytes of hexadecimal digits in either case.
fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

impl Policy for WebsubHmacAuth {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn guards(&self) -> bool {
        true
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        let judged = match caller.request.as_deref() {
            Some(request) => match content(request) {
                Some(content) => {
                    let brought = Brought::with(Some(request), None);
                    self.judged(brought.and_then(|brought| brought.header(&self.header)), content)
                }
                None => Err(unauthorized(
                    "policy.signature.invalid",
                    "The content is not there yet to be checked. The API's publisher has to ask for the signature at \
                     'publish'.",
                )),
            },
            None => self.judged(None, &[]),
        };
        future::ready(judged.map_err(|rejection| *rejection)).boxed()
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let judged = self.judged(self.with_message(context.request(), &message), message.payload());
        match judged {
            Ok(()) => Verdict::Continue(message),
            Err(rejection) => Verdict::Reject(*rejection),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use sluice_message::Headers;

    use super::*;
    use crate::{
        Chains, Outcome, WebhookSecret,
        tests::{caller, message, refused, request, step, with_credentials},
    };

    /// From the documentation of a large sender: its example secret, content and signature.
    const SECRET: &str = "It's a Secret to Everybody";
    const CONTENT: &str = "Hello, World!";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn credentials(secrets: &[(&str, Option<i64>)]) -> Arc<Credentials> {
        let credentials = Arc::new(Credentials::default());
        let secret = |(value, until_ms): &(&str, Option<i64>)| WebhookSecret {
            name: (*value).to_owned(),
            value: Secret::new(*value),
            until_ms: *until_ms,
        };
        credentials.set_secrets(secrets.iter().map(secret).collect());
        credentials
    }

    fn at(hook: Hook, settings: Json, credentials: &Arc<Credentials>) -> Chains {
        let mut flow = json!({});
        flow[hook.as_str()] = json!([step("websub-hmac-auth", settings)]);
        with_credentials(json!({"flows": [flow]}), credentials)
    }

    /// Why a post with these headers is refused; nothing where it is let on.
    fn refusal(settings: Json, headers: &[(&'static str, &'static str)]) -> Option<String> {
        let chains =
            at(Hook::Publish, settings, &credentials(&[("other", None), (SECRET, None), ("last", None)]));
        let caller = caller(&chains, "webhook-receiver", headers);
        match chains.select(Hook::Publish, &caller).run(&caller.context(), message(CONTENT)) {
            Outcome::Pass(_) => None,
            Outcome::Rejected(rejection) => {
                assert_eq!((rejection.status, rejection.code), (401, "policy.signature.invalid"));
                assert!(rejection.response.unwrap().body.contains(r#""error":"Unauthorized""#));
                Some(rejection.message)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_signature_by_any_secret_is_taken() {
        let upper: &'static str = SIGNATURE.to_uppercase().leak();
        for signature in [SIGNATURE, upper] {
            assert_eq!(refusal(json!({}), &[("x-hub-signature-256", signature)]), None);
        }
        let sha1 = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59";
        assert_eq!(refusal(json!({"algorithm": "sha1"}), &[("X-Hub-Signature", sha1)]), None);
        assert_eq!(refusal(json!({"signatureHeader": "X-Sig"}), &[("x-sig", SIGNATURE)]), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let with = |signature| refusal(json!({}), &[("x-hub-signature-256", signature)]).unwrap();
        assert!(refusal(json!({}), &[]).unwrap().contains("'X-Hub-Signature-256'"));
        assert!(refusal(json!({"algorithm": "sha512"}), &[("x-hub-signature-256", SIGNATURE)]).is_some());
        for malformed in ["", "x", "sha256", "sha1=00", "sha256=0", "sha256=zz", "sha256=é"] {
            let said = with(malformed);
            assert!(said.contains("has to be 'sha256='"), "{malformed}: {said}");
        }
        assert!(with("sha256=").contains("does not fit") && with("sha256=00").contains("does not fit"));
        let changed: &'static str = SIGNATURE.replace('7', "8").leak();
        assert!(with(changed).contains("does not fit"));
    }

    #[test]
    fn a_secret_counts_for_its_time_and_without_any_nobody_is_let_on() {
        let passes = |secrets: &[(&str, Option<i64>)]| {
            let chains = at(Hook::Publish, json!({}), &credentials(secrets));
            let caller = caller(&chains, "webhook-receiver", &[("x-hub-signature-256", SIGNATURE)]);
            let outcome = chains.select(Hook::Publish, &caller).run(&caller.context(), message(CONTENT));
            matches!(outcome, Outcome::Pass(_))
        };
        assert!(passes(&[(SECRET, None)]) && passes(&[(SECRET, Some(i64::MAX)), ("new", None)]));
        assert!(!passes(&[(SECRET, Some(1)), ("new", None)]) && !passes(&[]));
    }

    #[test]
    fn what_is_delivered_is_judged_by_the_signature_that_it_has_itself() {
        let chains = at(Hook::Deliver, json!({}), &credentials(&[(SECRET, None)]));
        let passes = |request: &[(&'static str, &'static str)], own: &[(&str, &'static str)]| {
            let caller = caller(&chains, "websocket", request);
            let headers: Headers = own.iter().copied().collect();
            let message = message(CONTENT).to_builder().headers(headers).build();
            let outcome = chains.select(Hook::Deliver, &caller).run(&caller.context(), message);
            matches!(outcome, Outcome::Pass(_))
        };
        let signed = [("X-Hub-Signature-256", SIGNATURE)];
        assert!(passes(&[], &signed) && !passes(&signed, &[]));
    }

    #[tokio::test]
    async fn what_is_asked_of_a_hub_is_judged_by_its_body() {
        for hook in [Hook::Connect, Hook::Subscribe, Hook::Unsubscribe] {
            let chains = at(hook, json!({}), &credentials(&[(SECRET, None)]));
            let met = async |method: &str, content: Option<&'static str>| {
                let mut request = request(&[("x-hub-signature-256", SIGNATURE)]);
                request.method = method.to_owned();
                request.content = content.map(Into::into);
                let mut caller = Caller::new(&chains, "websub", "/").with_request(Arc::new(request));
                chains.meet(hook, &mut caller).await.is_ok()
            };
            assert!(met("POST", Some(CONTENT)).await);
            assert!(!met("POST", Some("else")).await && !met("POST", None).await && !met("GET", None).await);
            assert!(chains.meet(hook, &mut Caller::new(&chains, "websub", "/")).await.is_err());
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let paths = |settings: Json| refused(&ENTRY, Hook::Publish, settings)[0].0.clone();
        assert_eq!(paths(json!({"algorithm": "md5"})), "algorithm");
        assert_eq!(paths(json!({"signatureHeader": ""})), "signatureHeader");
        assert_eq!(paths(json!({"secret": "x"})), "secret");
    }

    proptest! {
        #[test]
        fn digits_are_read_as_they_are_written(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(from_hex(&digits), Some(bytes.clone()));
            prop_assert_eq!(from_hex(&digits.to_uppercase()), Some(bytes));
        }

        #[test]
        fn whatever_stands_in_the_header_is_no_signature(written in ".*") {
            let written: &'static str = written.leak();
            let refused = refusal(Json::Object(serde_json::Map::new()), &[("x-hub-signature-256", written)]);
            prop_assert!(refused.is_some());
        }
    }
}
