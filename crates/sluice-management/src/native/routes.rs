//! The table of the contract.

use sluice_api::Offer;

use super::{
    BASE, List,
    api::{ApiEntity, DiscardedEntity, RetriedEntity},
    api_keys::{self, ApiKeyEntity, ApiKeyList, MadeApiKey, WantedKey},
    apis,
    error::Error,
    stream::{SlowClientEntity, StreamList},
    subscription::{StatusWord, SubscriptionEntity},
    subscriptions,
    webhook_secrets::{self, MadeSecret, SecretEntity, WantedSecret},
};
use crate::{
    contract::{Call, Contract, delete, get, post, put, schema_of},
    page::{Number, Page, PageNumber, PerPage},
    replay,
};

/// Everything of the contract that is served.
pub(crate) fn contract() -> Contract {
    let mut calls = api_calls();
    calls.extend(subscription_calls());
    calls.extend(key_calls());
    calls.extend(secret_calls());
    Contract {
        title: "Sluice",
        description: "Our own contract: what is served, who is connected, and how deliveries stand. Names are in \
                      camelCase, words in small letters, times in ISO 8601.",
        bases: &[BASE],
        document: "/api/v1/openapi",
        error: schema_of::<Error>,
        calls,
    }
}

fn paged(call: Call) -> Call {
    call.query::<PageNumber>("page", "The number of the page, from 1.")
        .query::<PerPage>("perPage", "How many items a page has.")
}

fn api_calls() -> Vec<Call> {
    vec![
        get("qos", "listQos", "Lists what each receiver can promise with each kind of broker", apis::qos)
            .gives::<List<Offer>>(200, "The whole table."),
        paged(get("apis", "listApis", "Lists event APIs in the order of creation", apis::list)).gives::<Page<
            ApiEntity,
        >>(
            200,
            "A page of them.",
        ),
        get("apis/{api}", "getApi", "Shows an event API and how it is doing", apis::get)
            .gives::<ApiEntity>(200, "It."),
        get("apis/{api}/streams", "listStreams", "Lists who is connected to an event API", apis::streams)
            .query::<Number<{ apis::DEFAULT_STREAMS }, { apis::MAX_STREAMS }>>(
                "limit",
                "How many streams are shown, the farthest behind first.",
            )
            .gives::<StreamList>(200, "Some of the open streams, and all of them in numbers."),
        get(
            "apis/{api}/slow-clients",
            "listSlowClients",
            "Lists clients of an event API that were lately too slow",
            apis::slow_clients,
        )
        .gives::<List<SlowClientEntity>>(200, "The last 100 of them, the last first."),
        post(
            "apis/{api}/spool/_retry",
            "retrySpool",
            "Lets the broker of now have what is set aside",
            apis::retry_spool,
        )
        .gives::<RetriedEntity>(200, "They are on their way again.")
        .refuses(503, "The spool cannot be written to."),
        delete(
            "apis/{api}/spool/set-aside",
            "discardSetAside",
            "Deletes what is set aside in the spool",
            apis::discard_set_aside,
        )
        .gives::<DiscardedEntity>(200, "They are gone.")
        .refuses(503, "The spool cannot be written to."),
    ]
}

fn subscription_calls() -> Vec<Call> {
    let at = |rest: &str| format!("apis/{{api}}/subscriptions{rest}");
    vec![
        paged(get(
            at(""),
            "listSubscriptions",
            "Lists the subscriptions to an event API in the order of creation",
            subscriptions::list,
        ))
        .query::<Vec<String>>("application", "Only those of these applications.")
        .query::<Vec<String>>("plan", "Only those by these plans.")
        .query::<Vec<StatusWord>>("status", "Only those in these states.")
        .query::<Vec<String>>("channel", "Only those for these channels.")
        .query::<String>(
            "callback",
            "Only those that are called at this address, as it was given with its query.",
        )
        .gives::<Page<SubscriptionEntity>>(200, "A page of them, each with how its delivery stands."),
        get(
            at("/{subscription}"),
            "getSubscription",
            "Shows a subscription and how its delivery stands",
            subscriptions::get,
        )
        .gives::<SubscriptionEntity>(200, "It."),
        delete(
            at("/{subscription}"),
            "closeSubscription",
            "Closes a subscription; one that was made at the hub is denied to its subscriber",
            subscriptions::close,
        )
        .gives_nothing(204, "It is over."),
        post(
            at("/{subscription}/_pause"),
            "pauseSubscription",
            "Has a subscription pause; what comes meanwhile waits for it",
            subscriptions::pause,
        )
        .gives::<SubscriptionEntity>(200, "It pauses."),
        post(
            at("/{subscription}/_resume"),
            "resumeSubscription",
            "Has a subscription that pauses or has failed go on where it stopped",
            subscriptions::resume,
        )
        .gives::<SubscriptionEntity>(200, "It goes on."),
        replay::call(at("/{subscription}/_replay")),
    ]
}

fn key_calls() -> Vec<Call> {
    let at = |rest: &str| format!("apis/{{api}}/api-keys{rest}");
    vec![
        get(at(""), "listApiKeys", "Lists the keys of an event API", api_keys::list)
            .gives::<ApiKeyList>(200, "All of them, without their texts."),
        post(at(""), "createApiKey", "Makes a key for an event API", api_keys::create)
            .takes::<WantedKey>()
            .gives::<MadeApiKey>(201, "It, with its text, which is shown once.")
            .refuses(409, "There is such a key, or there are as many as may be."),
        put(at("/{key}"), "replaceApiKey", "Gives a key a text that was made elsewhere", api_keys::replace)
            .takes::<WantedKey>()
            .gives::<ApiKeyEntity>(200, "It; the former text is good no more.")
            .refuses(409, "It is revoked, or another key has this text."),
        delete(at("/{key}"), "revokeApiKey", "Revokes a key for good", api_keys::revoke)
            .gives::<ApiKeyEntity>(200, "It."),
        post(at("/{key}/_regenerate"), "regenerateApiKey", "Gives a key a new text", api_keys::regenerate)
            .may_take::<api_keys::Regenerated>()
            .gives::<MadeApiKey>(200, "It, with its text, which is shown once; the former is good no more.")
            .refuses(409, "It is revoked."),
    ]
}

fn secret_calls() -> Vec<Call> {
    let at = |rest: &str| format!("apis/{{api}}/webhook-secrets{rest}");
    vec![
        get(
            at(""),
            "listWebhookSecrets",
            "Lists what the webhook senders of an event API sign with",
            webhook_secrets::list,
        )
        .gives::<List<SecretEntity>>(200, "All of them, without their texts."),
        post(at(""), "createWebhookSecret", "Makes a webhook secret", webhook_secrets::create)
            .takes::<WantedSecret>()
            .gives::<MadeSecret>(201, "It, with its text, which is shown once.")
            .refuses(409, "There is such a secret, or there are as many as may be."),
        delete(at("/{secret}"), "deleteWebhookSecret", "Deletes a webhook secret", webhook_secrets::delete)
            .gives_nothing(204, "It is good no more."),
        post(
            at("/{secret}/_regenerate"),
            "regenerateWebhookSecret",
            "Gives a webhook secret a new text",
            webhook_secrets::regenerate,
        )
        .may_take::<webhook_secrets::Regenerated>()
        .gives::<MadeSecret>(
            200,
            "It, with its text, which is shown once; the former stays good for a while.",
        ),
    ]
}
