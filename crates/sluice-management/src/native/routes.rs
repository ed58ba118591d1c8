//! The table of the contract.

use sluice_api::Offer;

use super::{
    BASE, List,
    api::{ApiEntity, DiscardedEntity, RetriedEntity},
    apis,
    error::Error,
    stream::{SlowClientEntity, StreamList},
    subscription::{StatusWord, SubscriptionEntity},
    subscriptions,
};
use crate::{
    contract::{Call, Contract, delete, get, post, schema_of},
    page::{Number, Page, PageNumber, PerPage},
    replay,
};

/// Everything of the contract that is served.
pub(crate) fn contract() -> Contract {
    let mut calls = api_calls();
    calls.extend(subscription_calls());
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
        .gives::<Page<SubscriptionEntity>>(200, "A page of them, each with how its delivery stands."),
        get(
            at("/{subscription}"),
            "getSubscription",
            "Shows a subscription and how its delivery stands",
            subscriptions::get,
        )
        .gives::<SubscriptionEntity>(200, "It."),
        replay::call(at("/{subscription}/_replay")),
    ]
}
