//! API keys and webhook secrets: what may be asked for, what is good when, and that the gateway knows at once.

use std::time::Duration;

use sluice_api::{ApiId, Secret};
use sluice_gateway::{Gateway, GatewayOptions};
use sluice_management::{Expected, NewApiKey, Registry, RegistryError};
use sluice_policy::ApiKey;
use sluice_store::{ApiKeySource, ApiKeyStatus, Catalogue, Store, Timestamp};
use tempfile::TempDir;

use crate::support::{api, gateway, registry_of};

struct Stage {
    registry: Registry,
    gateway: Gateway,
    api: ApiId,
    directory: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let (directory, gateway) = (tempfile::tempdir().unwrap(), gateway(GatewayOptions::default()));
        let registry = registry_of(directory.path(), &gateway).await;
        let api = api("orders", "/orders");
        let id = api.id.clone();
        registry.create(api, Catalogue::new()).await.unwrap();
        Self { registry, gateway, api: id, directory }
    }

    async fn make(&self, wanted: NewApiKey) -> Result<(String, String), RegistryError> {
        let (key, text) = self.registry.create_api_key(&self.api, wanted).await?;
        Ok((key.name.clone(), text.expose().to_owned()))
    }

    fn admits(&self, text: &str) -> bool {
        self.gateway.credentials(&self.api).key(text).is_some()
    }

    fn secrets(&self) -> Vec<String> {
        let secrets = self.gateway.credentials(&self.api).secrets();
        secrets.iter().map(|secret| secret.expose().to_owned()).collect()
    }

    /// The same after a restart.
    async fn again(self) -> Self {
        let Self { registry, gateway: former, api, directory } = self;
        drop((registry, former));
        let gateway = gateway(GatewayOptions::default());
        let registry = registry_of(directory.path(), &gateway).await;
        Self { registry, gateway, api, directory }
    }
}

fn named(name: &str) -> NewApiKey {
    NewApiKey { name: Some(name.to_owned()), ..NewApiKey::default() }
}

fn with_text(name: &str, text: &str) -> NewApiKey {
    NewApiKey { text: Some(Secret::new(text)), ..named(name) }
}

/// The code and the path of the first problem.
fn refused<T>(answer: Result<T, RegistryError>) -> (&'static str, String) {
    match answer.err().unwrap() {
        RegistryError::Invalid(problems) => (problems[0].code, problems[0].path.clone()),
        RegistryError::Conflict(problem) => (problem.code, problem.path),
        other => ("", other.to_string()),
    }
}

#[tokio::test]
async fn a_key_is_good_from_when_it_is_made_until_it_is_revoked() {
    let stage = Stage::set().await;
    let (name, text) = stage.make(NewApiKey::default()).await.unwrap();
    assert!(text.starts_with("apip_") && text.len() == 69, "{text}");
    assert!(text[5..].bytes().all(|it| it.is_ascii_hexdigit() && !it.is_ascii_uppercase()));
    assert!(stage.admits(&text) && !stage.admits("apip_other"));
    let kept = stage.registry.api_keys(&stage.api).unwrap()[0].clone();
    assert_eq!((kept.hash, kept.source), (ApiKey::hash_of(&text), ApiKeySource::Local));
    assert_eq!(kept.masked, format!("apip_********{}", &text[65..]));
    let stage = stage.again().await;
    assert!(stage.admits(&text), "it is good after a restart");
    let revoked = stage.registry.revoke_api_key(&stage.api, &name).await.unwrap();
    assert_eq!(revoked.status, ApiKeyStatus::Revoked);
    assert!(!stage.admits(&text));
    assert_eq!(*stage.registry.revoke_api_key(&stage.api, &name).await.unwrap(), *revoked);
    assert!(!stage.again().await.admits(&text), "it stays revoked");
}

#[tokio::test]
async fn a_key_that_is_made_anew_is_good_and_the_former_is_not() {
    let stage = Stage::set().await;
    let end = Timestamp::now().after(Duration::from_secs(60));
    let (name, text) = stage.make(NewApiKey { expires_at: Some(end), ..named("one") }).await.unwrap();
    let (key, again) = stage.registry.regenerate_api_key(&stage.api, &name, None).await.unwrap();
    assert_eq!(key.expires_at, Some(end));
    assert!(!stage.admits(&text) && stage.admits(again.expose()));
    let (key, _) = stage.registry.regenerate_api_key(&stage.api, &name, Some(None)).await.unwrap();
    assert_eq!(key.expires_at, None);
    let theirs = "t".repeat(36);
    let key = stage.registry.replace_api_key(&stage.api, &name, with_text("one", &theirs)).await.unwrap();
    assert_eq!((key.source, key.masked.as_str()), (ApiKeySource::External, "********tttt"));
    assert!(!stage.admits(again.expose()) && stage.admits(&theirs));
    let elsewhere = stage.registry.regenerate_api_key(&stage.api, &name, None).await;
    assert_eq!(refused(elsewhere).0, "apiKey.external");
}

#[tokio::test]
async fn roles_and_issuer_go_with_a_key_and_an_expired_one_is_not_good() {
    let stage = Stage::set().await;
    let end = Timestamp::now().after(Duration::from_millis(300));
    let wanted = NewApiKey {
        expires_at: Some(end),
        issuer: Some("portal".to_owned()),
        roles: vec!["reader".to_owned()],
        ..named("short")
    };
    let (_, text) = stage.make(wanted).await.unwrap();
    let known = stage.gateway.credentials(&stage.api).key(&text).unwrap();
    assert_eq!((known.issuer.as_deref(), &known.roles[..]), (Some("portal"), &["reader".to_owned()][..]));
    while Timestamp::now() <= end {
        tokio::task::yield_now().await;
    }
    assert!(!stage.admits(&text));
    assert_eq!(stage.registry.remaining_api_keys(&stage.api).unwrap(), 10, "it leaves room for another");
    let kept = stage.registry.regenerate_api_key(&stage.api, "short", None).await;
    assert_eq!(refused(kept), ("apiKey.expiry.invalid", "expiresAt".to_owned()));
}

#[tokio::test]
async fn what_a_key_may_be_is_checked_at_its_edges() {
    let stage = Stage::set().await;
    for name in ["ab", &"a".repeat(64), "A-b", "a--b", "-ab", "ab-", "a_b", "a b", ""] {
        assert_eq!(refused(stage.make(named(name)).await).0, "apiKey.name.invalid", "{name}");
    }
    for name in ["abc", &"a".repeat(63), "a-1-b"] {
        stage.make(named(name)).await.unwrap();
    }
    for text in ["x".repeat(35), "x".repeat(513), format!("{} ", "x".repeat(40)), "é".repeat(40)] {
        let answer = stage.make(with_text("text", &text)).await;
        assert_eq!(refused(answer), ("apiKey.text.invalid", "text".to_owned()), "{text}");
    }
    for text in ["x".repeat(36), "x".repeat(512)] {
        stage.make(with_text(&format!("of-{}", text.len()), &text)).await.unwrap();
    }
    let text = "y".repeat(36);
    let shown = NewApiKey { masked: Some(format!("<{text}>")), ..with_text("shown", &text) };
    assert_eq!(refused(stage.make(shown).await).0, "apiKey.masked.invalid");
    let past = NewApiKey { expires_at: Some(Timestamp(1)), ..named("past") };
    assert_eq!(refused(stage.make(past).await).0, "apiKey.expiry.invalid");
    for (wanted, code) in [
        (NewApiKey { issuer: Some("x".repeat(257)), ..named("note") }, "apiKey.note.invalid"),
        (NewApiKey { roles: vec![" ".to_owned()], ..named("role") }, "apiKey.roles.invalid"),
        (NewApiKey { roles: vec!["r".to_owned(); 65], ..named("role") }, "apiKey.roles.invalid"),
    ] {
        assert_eq!(refused(stage.make(wanted).await).0, code);
    }
    let none = stage.registry.replace_api_key(&stage.api, "abc", named("abc")).await;
    assert_eq!(refused(none), ("apiKey.text.invalid", "text".to_owned()));
    let renamed = stage.registry.replace_api_key(&stage.api, "abc", with_text("other", &text)).await;
    assert_eq!(refused(renamed), ("apiKey.name.invalid", "name".to_owned()));
}

#[tokio::test]
async fn names_and_texts_are_taken_once_and_there_are_so_many_keys() {
    let stage = Stage::set().await;
    let text = "x".repeat(40);
    stage.make(with_text("one", &text)).await.unwrap();
    assert_eq!(refused(stage.make(named("one")).await), ("apiKey.exists", "name".to_owned()));
    assert_eq!(refused(stage.make(with_text("two", &text)).await), ("apiKey.exists", "text".to_owned()));
    for number in 1..10 {
        assert_eq!(stage.registry.remaining_api_keys(&stage.api).unwrap(), 10 - number);
        stage.make(named(&format!("key-{number}"))).await.unwrap();
    }
    assert_eq!(refused(stage.make(named("eleventh")).await).0, "apiKey.quota");
    stage.registry.revoke_api_key(&stage.api, "one").await.unwrap();
    // The name of a revoked key is free, and so is its text.
    stage.make(with_text("one", &text)).await.unwrap();
    assert_eq!(stage.registry.api_keys(&stage.api).unwrap().len(), 10);
    let missing = stage.registry.revoke_api_key(&stage.api, "none").await;
    assert!(matches!(missing, Err(RegistryError::ApiKeyNotFound(name)) if name == "none"));
    let nowhere = stage.registry.api_keys(&ApiId("none".to_owned()));
    assert!(matches!(nowhere, Err(RegistryError::ApiNotFound(_))));
}

#[tokio::test]
async fn of_keys_that_have_ended_only_the_last_are_kept() {
    let stage = Stage::set().await;
    for number in 0..102 {
        let (name, _) = stage.make(named(&format!("key-{number:03}"))).await.unwrap();
        stage.registry.revoke_api_key(&stage.api, &name).await.unwrap();
    }
    stage.make(named("last")).await.unwrap();
    let stage = stage.again().await;
    let keys = stage.registry.api_keys(&stage.api).unwrap();
    assert_eq!((keys.len(), keys[0].name.as_str()), (101, "key-002"));
}

#[tokio::test]
async fn a_secret_that_is_made_anew_leaves_the_former_good_for_a_while() {
    let stage = Stage::set().await;
    let (secret, first) = stage.registry.create_webhook_secret(&stage.api, "My GitHub").await.unwrap();
    assert!(first.expose().starts_with("whsec_") && first.expose().len() == 70);
    assert_eq!((secret.name.as_str(), secret.display_name.as_str()), ("my-github", "My GitHub"));
    let regenerate = async |grace| {
        let made = stage.registry.regenerate_webhook_secret(&stage.api, "my-github", grace).await;
        made.map(|(_, text)| text.expose().to_owned())
    };
    let second = regenerate(None).await.unwrap();
    assert_eq!(stage.secrets(), [second.clone(), first.expose().to_owned()]);
    let third = regenerate(Some(Duration::ZERO)).await.unwrap();
    assert_eq!(stage.secrets(), std::slice::from_ref(&third));
    let too_long = regenerate(Some(Duration::from_secs(30 * 24 * 3600 + 1))).await;
    assert_eq!(refused(too_long).0, "webhookSecret.grace.invalid");
    let fourth = regenerate(Some(Duration::from_secs(30 * 24 * 3600))).await.unwrap();
    let stage = stage.again().await;
    assert_eq!(stage.secrets(), [fourth, third], "both are good after a restart");
    stage.registry.delete_webhook_secret(&stage.api, "my-github").await.unwrap();
    assert!(stage.secrets().is_empty());
    let missing = stage.registry.delete_webhook_secret(&stage.api, "my-github").await;
    assert!(matches!(missing, Err(RegistryError::WebhookSecretNotFound(_))));
}

#[tokio::test]
async fn secrets_have_names_of_their_own_and_there_are_so_many() {
    let stage = Stage::set().await;
    stage.registry.create_webhook_secret(&stage.api, "My GitHub").await.unwrap();
    let same = stage.registry.create_webhook_secret(&stage.api, "my_github").await;
    assert_eq!(refused(same), ("webhookSecret.exists", "displayName".to_owned()));
    for number in 1..10 {
        stage.registry.create_webhook_secret(&stage.api, &format!("s{number}")).await.unwrap();
    }
    assert_eq!(stage.secrets().len(), 10);
    let more = stage.registry.create_webhook_secret(&stage.api, "eleventh").await;
    assert_eq!(refused(more).0, "webhookSecret.quota");
    let unnamed = stage.registry.create_webhook_secret(&stage.api, " ").await;
    assert_eq!(refused(unnamed).0, "webhookSecret.name.invalid");
}

#[tokio::test]
async fn an_api_from_a_file_has_keys_too_and_a_deleted_api_has_none() {
    let stage = Stage::set().await;
    let files = |path: &str| vec![("filed.yaml".into(), Ok(api("filed", path)))];
    stage.registry.sync_files(files("/filed")).await.unwrap();
    let filed = ApiId("filed".to_owned());
    let (_, text) = stage.registry.create_api_key(&filed, named("one")).await.unwrap();
    stage.registry.sync_files(files("/moved")).await.unwrap();
    assert!(stage.gateway.credentials(&filed).key(text.expose()).is_some());

    let (_, text) = stage.make(named("one")).await.unwrap();
    stage.registry.create_webhook_secret(&stage.api, "one").await.unwrap();
    let held = stage.gateway.credentials(&stage.api);
    stage.registry.delete(&stage.api, Expected::Any, true).await.unwrap();
    assert!(held.key(&text).is_none() && !stage.admits(&text) && stage.secrets().is_empty());
    stage.registry.create(api("orders", "/orders"), Catalogue::new()).await.unwrap();
    assert!(stage.registry.api_keys(&stage.api).unwrap().is_empty());
    let Stage { registry, gateway, directory, .. } = stage;
    drop((registry, gateway));
    let kept = Store::open(directory.path()).await.unwrap();
    assert_eq!(kept.api_keys().await.unwrap().len(), 1);
    assert!(kept.webhook_secrets().await.unwrap().is_empty());
}
