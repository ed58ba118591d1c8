//! Signatures: examples that the providers have published, and requests that are not signed as they must be.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use proptest::prelude::*;
use sha2::Sha256;
use sluice_api::WebhookSender;

use super::*;
use crate::hex;

/// When everything here was signed, in seconds since 1970-01-01 UTC.
const TIME: u64 = 1_531_420_618;

fn sender(settings: Value) -> WebhookSender {
    sluice_api::from_value(settings).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    pairs.collect()
}

fn verdict(sender: &WebhookSender, headers: &HeaderMap, body: &[u8], now: u64) -> Result<(), &'static str> {
    verify(sender, &[], headers, body, now).map_err(|refusal| {
        assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
        refusal.code
    })
}

#[test]
fn the_example_of_github_is_right() {
    let github = sender(json!({ "provider": "github", "secrets": ["It's a Secret to Everybody"] }));
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let signed = headers(&[("x-hub-signature-256", signature)]);
    assert_eq!(verdict(&github, &signed, b"Hello, World!", 0), Ok(()));
    assert_eq!(verdict(&github, &signed, b"Hello, World?", 0), Err("webhook.signature.wrong"));
}

#[test]
fn the_example_of_slack_is_right() {
    let slack = sender(json!({ "provider": "slack", "secrets": ["8f742231b10e8888abcd99yyyzzz85a5"] }));
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                 channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                 response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F\
                 96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signed = headers(&[
        ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ("x-slack-request-timestamp", "1531420618"),
    ]);
    assert_eq!(verdict(&slack, &signed, body, TIME), Ok(()));
    assert_eq!(verdict(&slack, &signed, body, TIME + 301), Err("webhook.timestamp"));
}

#[test]
fn the_example_of_standard_webhooks_is_right_under_either_name() {
    let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    let standard = sender(json!({ "provider": "standard-webhooks", "secrets": secrets }));
    let body = br#"{"test": 2432232314}"#;
    let (id, time, signature) = (
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        "v1a,AAAA v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,x",
    );
    let own = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
    let svix = [("svix-id", id), ("svix-timestamp", time), ("svix-signature", signature)];
    for signed in [own, svix] {
        assert_eq!(verdict(&standard, &headers(&signed), body, 1_614_265_330), Ok(()));
    }
    let both = [own, svix].concat();
    assert_eq!(verdict(&standard, &headers(&both), body, 1_614_265_330), Ok(()));
    let mixed = [svix[0], own[1], own[2]];
    assert_eq!(verdict(&standard, &headers(&mixed), body, 1_614_265_330), Err("webhook.signature.missing"));
}

/// RFC 2202 and RFC 4231, test case 2 of both.
#[test]
fn the_examples_of_hmac_are_right_with_each_hash_function() {
    for (algorithm, digest) in [
        ("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "sha512",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdc\
             aeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        let bytes = STANDARD.encode(hex::decode(digest).unwrap());
        for (encoding, written) in [("hex", digest.to_uppercase()), ("base64", bytes)] {
            let hmac = sender(json!({
                "provider": "hmac", "secrets": ["Jefe"], "header": "X-Proof",
                "algorithm": algorithm, "encoding": encoding, "prefix": "v=",
            }));
            let signed = headers(&[("x-proof", &*format!("v={written}"))]);
            assert_eq!(verdict(&hmac, &signed, b"what do ya want for nothing?", 0), Ok(()), "{algorithm}");
        }
    }
    let sha1 = sender(json!({ "provider": "github", "secrets": ["Jefe"], "algorithm": "sha1" }));
    let signed = headers(&[("x-hub-signature", "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")]);
    assert_eq!(verdict(&sha1, &signed, b"what do ya want for nothing?", 0), Ok(()));
    let sha256 = sender(json!({ "provider": "github", "secrets": ["Jefe"] }));
    let weak = verdict(&sha256, &signed, b"what do ya want for nothing?", 0);
    assert_eq!(weak, Err("webhook.signature.missing"), "SHA-1 is taken where it is asked for only");
}

#[test]
fn a_stripe_header_may_hold_several_signatures_and_one_time() {
    let stripe = sender(json!({ "provider": "stripe", "secrets": ["whsec_test"] }));
    let good = hex::encode(&mac(b"whsec_test", format!("{TIME}.").as_bytes(), b"{}"));
    let other = "0".repeat(64);
    for (header, expected) in [
        (format!("t={TIME},v1={good}"), Ok(())),
        (format!("t={TIME},v1={other},v1={good},v0=x"), Ok(())),
        (format!("v1={good}, t={TIME}"), Ok(())),
        (format!("t={TIME},v1={other}"), Err("webhook.signature.wrong")),
        (format!("t={},v1={good}", TIME + 1), Err("webhook.signature.wrong")),
        (format!("t={TIME},v0={good}"), Err("webhook.signature.malformed")),
        (format!("t={TIME},t={TIME},v1={good}"), Err("webhook.signature.malformed")),
        (format!("t=+{TIME},v1={good}"), Err("webhook.signature.malformed")),
        (format!("v1={good}"), Err("webhook.signature.malformed")),
        (String::new(), Err("webhook.signature.malformed")),
    ] {
        let signed = headers(&[("stripe-signature", &*header)]);
        assert_eq!(verdict(&stripe, &signed, b"{}", TIME), expected, "{header}");
    }
}

#[test]
fn a_time_is_tolerated_up_to_its_edge_in_both_directions() {
    for (settings, tolerance) in [(json!({}), 300), (json!({ "toleranceSeconds": 1 }), 1)] {
        for provider in ["stripe", "slack", "standard-webhooks"] {
            let mut settings = settings.clone();
            settings["provider"] = provider.into();
            settings["secrets"] = json!(["c2VjcmV0"]);
            let (sender, signed) = (sender(settings), signed_by(provider, b"x"));
            for (now, expected) in [
                (TIME, Ok(())),
                (TIME + tolerance, Ok(())),
                (TIME - tolerance, Ok(())),
                (TIME + tolerance + 1, Err("webhook.timestamp")),
                (TIME - tolerance - 1, Err("webhook.timestamp")),
            ] {
                assert_eq!(verdict(&sender, &signed, b"x", now), expected, "{provider} {now}");
            }
        }
    }
}

#[test]
fn a_signature_that_is_missing_or_there_twice_is_refused() {
    for provider in PROVIDERS {
        let sender = with_secret(provider);
        assert_eq!(verdict(&sender, &HeaderMap::new(), b"x", TIME), Err("webhook.signature.missing"));
        let signed = signed_by(provider, b"x");
        for name in signed.keys() {
            let mut without = signed.clone();
            without.remove(name);
            assert_eq!(verdict(&sender, &without, b"x", TIME), Err("webhook.signature.missing"), "{name}");
            let mut twice = signed.clone();
            twice.append(name.clone(), signed[name].clone());
            assert_eq!(verdict(&sender, &twice, b"x", TIME), Err("webhook.signature.malformed"), "{name}");
        }
    }
}

#[tokio::test]
async fn any_secret_of_the_settings_or_of_the_api_is_good_until_it_is_taken_away() {
    let bench = Bench::new(json!({ "sender": { "provider": "github" }, "replayWindowSeconds": 0 }));
    let signed = |secret: &str| {
        post().header(
            "x-hub-signature-256",
            format!("sha256={}", hex::encode(&mac(secret.as_bytes(), b"", b"x"))),
        )
    };
    assert_eq!(bench.refused(signed("a"), "x").await, (401, "webhook.secret.none"));
    assert_eq!(bench.refused(signed(""), "x").await, (401, "webhook.secret.none"));
    let secret =
        |name: &str| WebhookSecret { name: name.to_owned(), value: Secret::new(name), until_ms: None };
    bench.binding.credentials.set_secrets(vec![secret("a"), secret("b")]);
    assert_eq!(bench.refused(signed("c"), "x").await, (401, "webhook.signature.wrong"));
    assert_eq!(bench.refused(signed(""), "x").await, (401, "webhook.signature.wrong"));
    for good in ["a", "b"] {
        bench.taken(signed(good), "x").await;
    }
    bench.binding.credentials.set_secrets(vec![secret("b")]);
    assert_eq!(bench.send(signed("a"), "x").await.unwrap_err().code, "webhook.signature.wrong");
    let sender = json!({ "provider": "github", "secrets": ["c", "d"] });
    let bench = Bench::new(json!({ "sender": sender, "replayWindowSeconds": 0 }));
    bench.binding.credentials.set_secrets(vec![secret("a")]);
    for good in ["c", "d", "a"] {
        bench.taken(signed(good), "x").await;
    }
}

#[test]
fn a_refusal_does_not_say_which_secrets_there_are() {
    let github = sender(json!({ "provider": "github", "secrets": ["alpha", "beta"] }));
    let signed = headers(&[("x-hub-signature-256", &*format!("sha256={}", "0".repeat(64)))]);
    let refusal = verify(&github, &[], &signed, b"x", 0).unwrap_err();
    assert!(!refusal.message.contains("alpha") && !refusal.message.contains("beta"));
}

const PROVIDERS: [&str; 6] = ["github", "stripe", "slack", "shopify", "standard-webhooks", "hmac"];

fn with_secret(provider: &str) -> WebhookSender {
    let mut settings = json!({ "provider": provider, "secrets": ["b3RoZXI=", "c2VjcmV0"] });
    if provider == "hmac" {
        settings["header"] = "x-proof".into();
    }
    sender(settings)
}

fn mac(key: &[u8], before: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(before);
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

/// What Slack signs a body with by the secret `c2VjcmV0`.
pub(super) fn slack_signature(time: u64, body: &str) -> String {
    format!("v0={}", hex::encode(&mac(b"c2VjcmV0", format!("v0:{time}:").as_bytes(), body.as_bytes())))
}

/// The headers by which each provider signs with the secret `c2VjcmV0`.
fn signed_by(provider: &str, body: &[u8]) -> HeaderMap {
    let text = "c2VjcmV0".as_bytes();
    let hex = |before: &str| hex::encode(&mac(text, before.as_bytes(), body));
    let time = TIME.to_string();
    match provider {
        "github" => headers(&[("x-hub-signature-256", &*format!("sha256={}", hex("")))]),
        "stripe" => headers(&[("stripe-signature", &*format!("t={time},v1={}", hex(&format!("{time}."))))]),
        "slack" => {
            let signature = format!("v0={}", hex(&format!("v0:{time}:")));
            headers(&[("x-slack-signature", &*signature), ("x-slack-request-timestamp", &*time)])
        }
        "shopify" => headers(&[("x-shopify-hmac-sha256", &*STANDARD.encode(mac(text, b"", body)))]),
        "standard-webhooks" => {
            let signature = mac(b"secret", format!("msg_1.{time}.").as_bytes(), body);
            let signature = format!("v1,{}", STANDARD.encode(signature));
            headers(&[
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", &*time),
                ("webhook-signature", &*signature),
            ])
        }
        _ => headers(&[("x-proof", &*hex(""))]),
    }
}

proptest! {
    #[test]
    fn any_changed_byte_of_body_or_headers_is_refused(
        provider in prop::sample::select(PROVIDERS.to_vec()),
        body in prop::collection::vec(any::<u8>(), 1..64),
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
        character in b' '..=b'~',
    ) {
        let (sender, signed) = (with_secret(provider), signed_by(provider, &body));
        prop_assert_eq!(verdict(&sender, &signed, &body, TIME), Ok(()));
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= change;
        prop_assert_eq!(verdict(&sender, &signed, &changed, TIME), Err("webhook.signature.wrong"));
        for (name, value) in &signed {
            let mut value = value.as_bytes().to_vec();
            let place = at.index(value.len());
            // Hexadecimal digits are the same in either case.
            prop_assume!(!value[place].eq_ignore_ascii_case(&character));
            value[place] = character;
            let mut changed = signed.clone();
            changed.insert(name, HeaderValue::from_bytes(&value).unwrap());
            prop_assert!(verdict(&sender, &changed, &body, TIME).is_err(), "{} {:?}", name, value);
        }
    }

    #[test]
    fn no_header_makes_it_panic_and_none_is_right_by_chance(
        provider in prop::sample::select(PROVIDERS.to_vec()),
        value in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut forged = signed_by(provider, b"x");
            forged.values_mut().for_each(|forged| *forged = value.clone());
            prop_assert!(verdict(&with_secret(provider), &forged, b"x", TIME).is_err());
        }
    }
}
