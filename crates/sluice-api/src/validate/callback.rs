//! The rules of a subscriber's callback. Whether its address may be called at all depends on the gateway and
//! is judged by `sluice_delivery::Guard`.

use std::ops::RangeInclusive;

use base64::{Engine, engine::general_purpose::STANDARD};
use url::Url;

use super::receivers::is_token;
use crate::{
    Assertion, AssertionAlgorithm, AssertionKey, Callback, CallbackAuth, CallbackKeyStore, CallbackRetry,
    CallbackTls, CallbackTrustStore, Problem, Secret, StoreType,
};

const MAX_URL: usize = 2048;
const MAX_HEADERS: usize = 64;
const MAX_TEXT: usize = 8 << 10;
const MAX_PEM: usize = 64 << 10;
const MAX_NAMES: usize = 64;
const SIGNING_KEY: RangeInclusive<usize> = 24..=64;

/// Headers that belong to one connection or to the framing of the body, beside `Host`.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Callback {
    /// Whether a header of this name is the connection's own, so that neither a subscriber nor a message can
    /// set it. Compared without case.
    pub fn reserves_header(name: &str) -> bool {
        RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
    }

    /// Every rule that this callback breaks, with paths relative to it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut rules = Rules(Vec::new());
        rules.url("callbackUrl", &self.callback_url);
        rules.headers(self);
        rules.auth(&self.auth);
        if let Some(tls) = &self.ssl {
            rules.tls(tls);
        }
        rules.0.extend(self.retry.problems().into_iter().map(|problem| problem.within("retry")));
        if let Some(signature) = &self.signature {
            rules.signature(&signature.secrets);
        }
        rules.0
    }
}

impl CallbackRetry {
    /// Every rule that these settings break, with paths relative to them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut rules = Rules(Vec::new());
        rules.retry(self);
        rules.0
    }
}

/// What was found so far.
struct Rules(Vec<Problem>);

impl Rules {
    fn refuse(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(path, "subscription.configuration.invalid", message));
    }

    fn require(&mut self, holds: bool, path: &str, message: &str) {
        if !holds {
            self.refuse(path, message);
        }
    }

    fn url(&mut self, path: &str, text: &str) {
        if text.is_empty() {
            return self.refuse(path, "Must be there: an http or https URL.");
        }
        if text.len() > MAX_URL {
            return self.refuse(path, format!("Must be at most {MAX_URL} bytes long."));
        }
        if text.contains("{#") {
            return self.refuse(path, "Expressions are not evaluated here; write the address itself.");
        }
        // The parser would take out line ends without a word.
        let parsed = Url::parse(text).ok().filter(|_| !text.contains(char::is_control));
        let Some(url) = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        else {
            return self.refuse(path, "Must be an http or https URL, as https://hooks.example/orders.");
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.refuse(path, "Must not hold a name or password; put them into auth.");
        }
    }

    fn headers(&mut self, callback: &Callback) {
        if callback.headers.len() > MAX_HEADERS {
            self.refuse("headers", format!("At most {MAX_HEADERS} headers are allowed."));
        }
        for (index, header) in callback.headers.iter().enumerate() {
            let name = format!("headers[{index}].name");
            if !is_token(&header.name) {
                self.refuse(name, "Must be the name of a header: letters, digits, '-' and the like.");
            } else if Callback::reserves_header(&header.name) {
                self.refuse(name, format!("'{}' is set by the gateway alone.", header.name));
            }
            self.text(&format!("headers[{index}].value"), header.value.expose(), 0..=MAX_TEXT);
        }
    }

    /// A text that can stand in a header, of so many bytes.
    fn text(&mut self, path: &str, text: &str, length: RangeInclusive<usize>) {
        if !length.contains(&text.len()) {
            let message = format!("Must be from {} to {} bytes long.", length.start(), length.end());
            self.refuse(path, message);
        } else if text.contains(char::is_control) {
            self.refuse(path, "Must not hold line ends or other control characters.");
        }
    }

    fn auth(&mut self, auth: &CallbackAuth) {
        match auth {
            CallbackAuth::None => {}
            CallbackAuth::Basic(basic) => {
                self.text("auth.basic.username", &basic.username, 1..=MAX_TEXT);
                let colon = basic.username.contains(':');
                self.require(!colon, "auth.basic.username", "Must not hold a colon (RFC 7617).");
                self.text("auth.basic.password", basic.password.expose(), 0..=MAX_TEXT);
            }
            CallbackAuth::Token(token) => self.text("auth.token.value", token.value.expose(), 1..=MAX_TEXT),
            CallbackAuth::Oauth2(credentials) => {
                self.url("auth.oauth2.endpoint", &credentials.endpoint);
                self.text("auth.oauth2.clientId", &credentials.client_id, 1..=MAX_TEXT);
                self.text("auth.oauth2.clientSecret", credentials.client_secret.expose(), 1..=MAX_TEXT);
                self.scopes("auth.oauth2.scopes", &credentials.scopes);
            }
            CallbackAuth::JwtProfileOauth2(assertion) => self.assertion(assertion),
        }
    }

    fn scopes(&mut self, path: &str, scopes: &[String]) {
        let good = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if scopes.len() > MAX_NAMES || !scopes.iter().all(good) {
            self.refuse(path, format!("Must be at most {MAX_NAMES} names without spaces."));
        }
    }

    fn assertion(&mut self, assertion: &Assertion) {
        let path = |field: &str| format!("auth.jwtProfileOauth2.{field}");
        self.url(&path("endpoint"), &assertion.endpoint);
        self.text(&path("issuer"), &assertion.issuer, 1..=MAX_TEXT);
        self.text(&path("subject"), &assertion.subject, 1..=MAX_TEXT);
        self.scopes(&path("scopes"), &assertion.scopes);
        let good = (1..=86_400).contains(&assertion.lifetime_seconds());
        self.require(good, &path("expirationTime"), "Must be from 1 second to 1 day.");
        let key = assertion.key_content.expose();
        let rsa = assertion.signature_algorithm == AssertionAlgorithm::Rs256;
        if matches!(assertion.key_source, AssertionKey::Jks | AssertionKey::Pkcs12) {
            self.refuse(path("keySource"), store_unread("keyContent"));
        } else if key.is_empty() || key.len() > MAX_PEM {
            self.refuse(path("keyContent"), format!("Must be from 1 to {MAX_PEM} bytes long."));
        } else if rsa && !key.contains("-----BEGIN ") {
            self.refuse(path("keyContent"), "RS256 needs a private key as PEM text; files are not read.");
        } else if !rsa && assertion.secret_base64_encoded && STANDARD.decode(key).is_err() {
            self.refuse(path("keyContent"), "Is said to be base64, and is not.");
        }
        let reserved = ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"];
        let claims = &assertion.custom_claims;
        let good = claims.iter().all(|claim| !claim.name.is_empty() && !reserved.contains(&&*claim.name));
        let message = "Must be at most 64 names that are not those of the other fields.";
        self.require(good && claims.len() <= MAX_NAMES, &path("customClaims"), message);
    }

    fn tls(&mut self, tls: &CallbackTls) {
        if let Some(store) = &tls.trust_store {
            self.trust_store(store);
        }
        if let Some(store) = &tls.key_store {
            self.key_store(store);
        }
    }

    fn trust_store(&mut self, store: &CallbackTrustStore) {
        self.no_file("ssl.trustStore.path", store.path.as_deref());
        self.no_password("ssl.trustStore.password", store.password.as_ref());
        let content = store.content.as_deref();
        match store.kind {
            StoreType::None if content.is_none() => {}
            StoreType::None => self.refuse("ssl.trustStore.content", "Is used only where type is PEM."),
            StoreType::Pem => self.pem("ssl.trustStore.content", content),
            StoreType::Jks | StoreType::Pkcs12 => {
                self.refuse("ssl.trustStore.type", store_unread("content"));
            }
        }
    }

    fn key_store(&mut self, store: &CallbackKeyStore) {
        self.no_file("ssl.keyStore.path", store.path.as_deref());
        self.no_file("ssl.keyStore.certPath", store.cert_path.as_deref());
        self.no_file("ssl.keyStore.keyPath", store.key_path.as_deref());
        self.no_password("ssl.keyStore.password", store.password.as_ref());
        let (cert, key) = (store.cert_content.as_deref(), store.key_content.as_ref());
        let both = store.content.as_ref();
        match store.kind {
            StoreType::None if cert.is_none() && key.is_none() && both.is_none() => {}
            StoreType::None => self.refuse("ssl.keyStore.type", "Must be PEM where a certificate is given."),
            StoreType::Pem if both.is_some() && (cert.is_some() || key.is_some()) => {
                self.refuse(
                    "ssl.keyStore.content",
                    "Is in place of certContent and keyContent, not beside them.",
                );
            }
            StoreType::Pem if both.is_some() => self.pem("ssl.keyStore.content", both.map(Secret::expose)),
            StoreType::Pem => {
                self.pem("ssl.keyStore.certContent", cert);
                self.pem("ssl.keyStore.keyContent", key.map(Secret::expose));
            }
            StoreType::Jks | StoreType::Pkcs12 => {
                self.refuse("ssl.keyStore.type", store_unread("content"));
            }
        }
    }

    fn no_file(&mut self, path: &str, file: Option<&str>) {
        let message = "Files of the gateway are not read for a subscriber; send the content as PEM text.";
        self.require(file.is_none(), path, message);
    }

    fn no_password(&mut self, path: &str, password: Option<&Secret>) {
        self.require(password.is_none(), path, "PEM has no password; send the key without encryption.");
    }

    fn pem(&mut self, path: &str, text: Option<&str>) {
        let good = text.is_some_and(|text| text.len() <= MAX_PEM && text.contains("-----BEGIN "));
        self.require(good, path, "Must be PEM text of at most 64 KiB.");
    }

    fn retry(&mut self, retry: &CallbackRetry) {
        let bounded = [
            ("maxAttempts", retry.max_attempts, 1..=CallbackRetry::MOST_ATTEMPTS),
            ("initialDelaySeconds", retry.initial_delay_seconds, 0..=86_400),
            ("maxDelaySeconds", retry.max_delay_seconds, retry.initial_delay_seconds..=86_400),
        ];
        for (path, value, allowed) in bounded {
            if !allowed.contains(&value) {
                self.refuse(path, format!("Must be from {} to {}.", allowed.start(), allowed.end()));
            }
        }
    }

    fn signature(&mut self, secrets: &[Secret]) {
        let message = "Must be one secret, or two while one takes the other's place.";
        self.require((1..=2).contains(&secrets.len()), "signature.secrets", message);
        for (index, secret) in secrets.iter().enumerate() {
            let key = secret.expose().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
            let message = "Must be 'whsec_' and 24 to 64 random bytes in base64.";
            let good = key.is_some_and(|key| SIGNING_KEY.contains(&key.len()));
            self.require(good, &format!("signature.secrets[{index}]"), message);
        }
    }
}

fn store_unread(field: &str) -> String {
    format!(
        "JKS and PKCS12 stores are not read. Turn the store into PEM text (keytool -importkeystore to PKCS12, \
         then openssl pkcs12 -nodes) and send that in {field}."
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::from_value;

    fn problems(mut with: Value) -> Vec<(String, String)> {
        if with.get("callbackUrl").is_none() {
            with["callbackUrl"] = json!("https://hooks.example/a");
        }
        match from_value::<Callback>(with) {
            Ok(callback) => {
                callback.problems().into_iter().map(|found| (found.path, found.message)).collect()
            }
            Err(problem) => vec![(problem.path, problem.message)],
        }
    }

    fn refused(with: Value, path: &str) {
        let shown = with.to_string();
        let found = problems(with);
        let paths: Vec<_> = found.iter().map(|(path, _)| &**path).collect();
        assert_eq!(paths, [path], "{shown}: {found:?}");
    }

    #[test]
    fn an_address_must_be_a_plain_http_url() {
        for url in [
            "",
            "ftp://a",
            "http://",
            "//a/b",
            "a.example",
            "http://u:p@a",
            "https://u@a",
            "javascript:alert(1)",
            "http://a/\r\nX: y",
            "http://a/{#x}",
        ] {
            refused(json!({ "callbackUrl": url }), "callbackUrl");
        }
        let long = |length: usize| format!("http://a/{}", "x".repeat(length - 9));
        assert!(problems(json!({ "callbackUrl": long(2048) })).is_empty());
        refused(json!({ "callbackUrl": long(2049) }), "callbackUrl");
    }

    #[test]
    fn a_missing_address_is_told_by_name() {
        let problem = from_value::<Callback>(json!({})).unwrap_err();
        assert!(problem.message.contains("callbackUrl"), "{problem}");
    }

    #[test]
    fn headers_cannot_break_the_request() {
        let header = |name: &str, value: &str| json!({ "headers": [{ "name": name, "value": value }] });
        assert!(problems(header("X-Colour", "red")).is_empty());
        for name in ["", "a b", "a:b", "a\r\nb", "Host", "content-length", "Transfer-Encoding", "TE"] {
            refused(header(name, "x"), "headers[0].name");
        }
        for value in ["a\r\nX: y", "a\nb", "\0"] {
            refused(header("a", value), "headers[0].value");
        }
        let many = |count: usize| json!({ "headers": vec![json!({ "name": "a", "value": "" }); count] });
        assert!(problems(many(64)).is_empty());
        refused(many(65), "headers");
    }

    #[test]
    fn credentials_stand_beside_their_type() {
        let basic = json!({ "type": "basic", "basic": { "username": "u", "password": "p" } });
        let callback: Callback = from_value(json!({ "callbackUrl": "http://a", "auth": basic })).unwrap();
        let CallbackAuth::Basic(basic) = &callback.auth else { panic!("{callback:?}") };
        assert_eq!((&*basic.username, basic.password.expose()), ("u", "p"));
        let written = serde_json::to_value(&callback).unwrap();
        assert_eq!(written["auth"]["basic"], json!({ "username": "u", "password": "********" }));
        refused(json!({ "auth": { "type": "basic" } }), "auth.basic");
        let stray = json!({ "type": "none", "token": { "value": "x" } });
        refused(json!({ "auth": stray }), "auth.token");
        let colon = json!({ "type": "basic", "basic": { "username": "a:b", "password": "p" } });
        refused(json!({ "auth": colon }), "auth.basic.username");
    }

    #[test]
    fn a_token_endpoint_is_judged_like_the_address() {
        let auth = |endpoint: &str| {
            let oauth2 =
                json!({ "endpoint": endpoint, "clientId": "c", "clientSecret": "s", "scopes": ["a"] });
            json!({ "auth": { "type": "oauth2", "oauth2": oauth2 } })
        };
        assert!(problems(auth("https://id.example/token")).is_empty());
        refused(auth("file:///etc/passwd"), "auth.oauth2.endpoint");
    }

    #[test]
    fn an_assertion_needs_a_key_that_is_no_file() {
        let auth = |field: &str, value: Value| {
            let mut jwt = json!({
                "endpoint": "https://id.example/token", "issuer": "i", "subject": "s", "keyContent": "secret",
                "signatureAlgorithm": "HMAC_HS256",
            });
            jwt[field] = value;
            json!({ "auth": { "type": "jwtProfileOauth2", "jwtProfileOauth2": jwt } })
        };
        assert!(problems(auth("keyId", json!("k"))).is_empty());
        let path = |field: &str| format!("auth.jwtProfileOauth2.{field}");
        refused(auth("signatureAlgorithm", json!("RSA_RS256")), &path("keyContent"));
        refused(auth("keySource", json!("JKS")), &path("keySource"));
        refused(auth("expirationTime", json!(86_401)), &path("expirationTime"));
        refused(auth("customClaims", json!([{ "name": "exp", "value": "1" }])), &path("customClaims"));
    }

    #[test]
    fn a_subscriber_cannot_make_the_gateway_read_a_file() {
        let pem = "-----BEGIN CERTIFICATE-----";
        let trust = |store: Value| json!({ "ssl": { "trustStore": store } });
        assert!(problems(trust(json!({ "type": "PEM", "content": pem }))).is_empty());
        let file = json!({ "type": "PEM", "content": pem, "path": "/etc/passwd" });
        refused(trust(file), "ssl.trustStore.path");
        refused(trust(json!({ "type": "JKS", "content": "x" })), "ssl.trustStore.type");
        refused(trust(json!({ "type": "PEM" })), "ssl.trustStore.content");
        let key = |store: Value| json!({ "ssl": { "keyStore": store } });
        let pair = json!({ "type": "PEM", "certContent": pem, "keyContent": "-----BEGIN PRIVATE KEY-----" });
        assert!(problems(key(pair.clone())).is_empty());
        let mut file = pair;
        file["keyPath"] = json!("/etc/key.pem");
        refused(key(file), "ssl.keyStore.keyPath");
    }

    #[test]
    fn retries_are_bounded() {
        let retry = |field: &str, value: u32| json!({ "retry": { field: value } });
        refused(retry("maxAttempts", 0), "retry.maxAttempts");
        refused(retry("maxAttempts", 100_001), "retry.maxAttempts");
        refused(retry("maxDelaySeconds", 9), "retry.maxDelaySeconds");
        refused(retry("maxDelaySeconds", 86_401), "retry.maxDelaySeconds");
        assert!(problems(retry("maxDelaySeconds", 86_400)).is_empty());
        let off = json!({ "retryOption": "No Retry", "maxAttempts": 5 });
        let off: CallbackRetry = serde_json::from_value(off).unwrap();
        let flag: CallbackRetry = serde_json::from_value(json!({ "retryOnFail": false })).unwrap();
        assert_eq!((off.attempts(), flag.attempts(), CallbackRetry::default().attempts()), (1, 1, 3));
    }

    #[test]
    fn an_order_is_one_of_three() {
        for order in ["all", "key", "none"] {
            assert!(problems(json!({ "order": order })).is_empty());
        }
        refused(json!({ "order": "partition" }), "order");
    }

    #[test]
    fn signing_keys_are_written_as_standard_webhooks_have_them() {
        let key = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        let signature = |secrets: Value| json!({ "signature": { "secrets": secrets } });
        assert!(problems(signature(json!([key(24), key(64)]))).is_empty());
        refused(signature(json!([])), "signature.secrets");
        refused(signature(json!([key(24), key(24), key(24)])), "signature.secrets");
        for wrong in [key(23), key(65), STANDARD.encode([7; 24]), "whsec_?".to_owned()] {
            refused(signature(json!([wrong])), "signature.secrets[0]");
        }
    }

    #[test]
    fn every_secret_is_found_by_its_path() {
        let mut callback: Callback = from_value(json!({
            "callbackUrl": "http://a",
            "headers": [{ "name": "X-Key", "value": "one" }],
            "auth": { "type": "token", "token": { "value": "two" } },
            "ssl": { "keyStore": { "type": "PEM", "certContent": "c", "keyContent": "three" } },
            "signature": { "secrets": ["four", "five"] },
        }))
        .unwrap();
        let secrets = callback.secrets_mut();
        let paths: Vec<_> = secrets.iter().map(|(path, secret)| (&**path, secret.expose())).collect();
        let expected = [
            ("headers[0].value", "one"),
            ("auth.token.value", "two"),
            ("ssl.keyStore.keyContent", "three"),
            ("signature.secrets[0]", "four"),
            ("signature.secrets[1]", "five"),
        ];
        assert_eq!(paths, expected);
    }
}
