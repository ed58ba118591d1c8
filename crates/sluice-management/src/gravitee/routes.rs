//! The table of the 3.20 contract.

use serde_json::{Map, Value};

use super::{
    apis::{self, Deployment},
    applications::{self, ApplicationEntity},
    entity::ApiEntity,
    error::Error,
    plan_calls as plans,
    plans::{PlanEntity, WrittenPlan},
    plugins::{self, Naming},
    read::Written,
    request::BASE,
    subscriptions::{self as subs, SubscriptionEntity, SubscriptionPage},
};
use crate::{
    contract::{Call, Contract, delete, get, post, put, schema_of},
    replay,
};

/// Everything of the contract that is served.
pub(super) fn contract() -> Contract {
    let mut calls = api_calls();
    calls.extend(plan_calls());
    calls.extend(subscription_calls());
    calls.extend(key_calls());
    calls.extend(application_calls());
    calls.extend(consumer_calls());
    let at = ["v4/entrypoints", "v4/endpoints", "policies"];
    calls.extend(plugins::rows(Naming::Kebab, at, "subscriptionSchema"));
    Contract {
        title: "Management 3.20",
        description: "The earlier contract: names of enums in lower case (read in any case), times in milliseconds \
                      since 1970. Unknown fields are ignored, except where something that protects would be lost.",
        bases: &[BASE],
        document: "/management/openapi",
        error: schema_of::<Error>,
        calls,
    }
}

/// What portals use of it.
pub(super) fn portal() -> Contract {
    let subscribe =
        post("subscriptions", "subscribeFromPortal", "Asks for a subscription", subs::subscribe_from_portal);
    Contract {
        title: "Portal",
        description: "Where portals subscribe on behalf of consumers.",
        bases: &["/portal/environments/DEFAULT"],
        document: "/portal/openapi",
        error: schema_of::<Error>,
        calls: vec![
            subscribe.takes::<Body>().gives::<SubscriptionEntity>(201, "It is asked for, or accepted."),
        ],
    }
}

/// A body of which only the fields that are there count; those of subscriptions come in several shapes.
type Body = Map<String, Value>;

fn api_calls() -> Vec<Call> {
    vec![
        post("v4/apis", "createApi", "Creates an API, stopped", apis::create)
            .takes::<Written>()
            .gives::<ApiEntity<'_>>(201, "It is created; `Location` has its address."),
        get("v4/apis", "listApis", "Lists APIs in the order of creation", apis::list)
            .gives::<Vec<ApiEntity<'_>>>(200, "All of them."),
        get("v4/apis/{api}", "getApi", "Shows an API", apis::get).tagged().gives::<ApiEntity<'_>>(200, "It."),
        put("v4/apis/{api}", "updateApi", "Replaces the draft of an API", apis::update)
            .tagged()
            .conditional()
            .takes::<Written>()
            .gives::<ApiEntity<'_>>(
                200,
                "It is changed; what runs stays as it is until the next deployment.",
            ),
        post("v4/apis/{api}", "startOrStopApi", "Starts or stops an API", apis::act)
            .tagged()
            .conditional()
            .query::<String>("action", "`START` or `STOP`.")
            .gives_nothing(204, "It is started, or stopped."),
        delete("v4/apis/{api}", "deleteApi", "Deletes a stopped API", apis::delete)
            .conditional()
            .query::<bool>("closePlans", "Whether open plans are closed with it.")
            .gives_nothing(204, "It is deleted, with its plans and subscriptions."),
        post("v4/apis/{api}/deploy", "deployApi", "Makes the draft of an API what runs", apis::deploy)
            .tagged()
            .conditional()
            .may_take::<Deployment>()
            .gives::<ApiEntity<'_>>(200, "It is deployed."),
        get("v4/apis/{api}/picture", "getPicture", "Shows the picture of an API", apis::image)
            .gives_nothing(204, "It has none."),
        get("v4/apis/{api}/background", "getBackground", "Shows the background of an API", apis::image)
            .gives_nothing(204, "It has none."),
    ]
}

fn plan_calls() -> Vec<Call> {
    let at = |rest: &str| format!("v4/apis/{{api}}/plans{rest}");
    vec![
        post(at(""), "createPlan", "Adds a plan to an API", plans::create)
            .takes::<WrittenPlan>()
            .gives::<PlanEntity<'_>>(201, "It is added; `Location` has its address."),
        get(at(""), "listPlans", "Lists the plans of an API", plans::list)
            .query::<Vec<String>>("status", "Only plans of these statuses; `published` when absent.")
            .query::<Vec<String>>("security", "Only plans that ask for one of these credentials.")
            .gives::<Vec<PlanEntity<'_>>>(200, "All of them."),
        get(at("/{plan}"), "getPlan", "Shows a plan", plans::get).gives::<PlanEntity<'_>>(200, "It."),
        put(at("/{plan}"), "updatePlan", "Changes a plan; takes effect at once", plans::update)
            .takes::<WrittenPlan>()
            .gives::<PlanEntity<'_>>(200, "It is changed."),
        delete(at("/{plan}"), "deletePlan", "Deletes a plan without subscriptions", plans::delete)
            .gives_nothing(204, "It is deleted."),
        post(at("/{plan}/_publish"), "publishPlan", "Publishes a staging plan", plans::publish)
            .gives::<PlanEntity<'_>>(200, "It is published."),
        post(
            at("/{plan}/_deprecate"),
            "deprecatePlan",
            "Closes a plan to new subscriptions",
            plans::deprecate,
        )
        .gives::<PlanEntity<'_>>(200, "It is deprecated."),
        post(at("/{plan}/_depreciate"), "depreciatePlan", "The same under its older name", plans::deprecate)
            .gives::<PlanEntity<'_>>(200, "It is deprecated."),
        post(at("/{plan}/_close"), "closePlan", "Closes a plan and its subscriptions for good", plans::close)
            .gives::<PlanEntity<'_>>(200, "It is closed."),
    ]
}

fn paged(call: Call) -> Call {
    call.query::<u32>("page", "The number of the page, from 1.")
        .query::<u32>("size", "How many items a page has.")
}

fn subscription_calls() -> Vec<Call> {
    let at = |rest: &str| format!("v4/apis/{{api}}/subscriptions{rest}");
    vec![
        paged(get(
            "v4/apis/{api}/subscribers",
            "listSubscribers",
            "Lists who subscribes to an API",
            subs::subscribers,
        ))
        .query::<String>("query", "Only those with this in their name.")
        .gives::<Vec<ApplicationEntity<'_>>>(200, "A page of them."),
        post(at(""), "createSubscription", "Subscribes an application to a plan", subs::create)
            .query::<String>("application", "The application; needed.")
            .query::<String>("plan", "The plan; needed.")
            .query::<String>("customApiKey", "Not served: no plan has keys.")
            .may_take::<Body>()
            .gives::<SubscriptionEntity>(201, "It is accepted; `Location` has its address."),
        paged(get(at(""), "listSubscriptions", "Lists the subscriptions to an API", subs::list))
            .query::<Vec<String>>("plan", "Only those by these plans.")
            .query::<Vec<String>>("application", "Only those of these applications.")
            .query::<Vec<String>>("status", "Only those in these states; `ACCEPTED` when absent.")
            .query::<Vec<String>>("expand", "`security`, `keys`: shown with each line.")
            .gives::<SubscriptionPage>(200, "A page of them."),
        get(at("/_canCreate"), "canSubscribe", "Tells whether a key can be used", subs::can_create)
            .query::<String>("application", "The application; needed.")
            .query::<String>("key", "The key; needed.")
            .gives::<bool>(200, "Whether it can."),
        get(at("/{subscription}"), "getSubscription", "Shows a subscription", subs::get)
            .gives::<SubscriptionEntity>(200, "It."),
        put(
            at("/{subscription}"),
            "updateSubscription",
            "Changes a subscription; takes effect at once",
            subs::update,
        )
        .may_take::<Body>()
        .gives::<SubscriptionEntity>(200, "It is changed."),
        delete(at("/{subscription}"), "closeSubscription", "Closes a subscription for good", subs::close)
            .gives::<SubscriptionEntity>(200, "It is closed."),
        post(
            at("/{subscription}/status"),
            "changeSubscriptionStatus",
            "Pauses, resumes or closes a subscription",
            subs::change_status,
        )
        .query::<String>("status", "`PAUSED`, `RESUMED` or `CLOSED`.")
        .gives::<SubscriptionEntity>(200, "It is changed."),
        post(
            at("/{subscription}/_process"),
            "processSubscription",
            "Agrees to a pending subscription, or does not",
            subs::process,
        )
        .may_take::<Body>()
        .gives::<SubscriptionEntity>(200, "It is accepted, or rejected."),
        post(
            at("/{subscription}/_transfer"),
            "transferSubscription",
            "Moves a subscription to another plan",
            subs::transfer,
        )
        .may_take::<Body>()
        .gives::<SubscriptionEntity>(200, "It is moved."),
        replay::call(at("/{subscription}/_replay")),
    ]
}

fn key_calls() -> Vec<Call> {
    let at = |rest: &str| format!("v4/apis/{{api}}/subscriptions/{{subscription}}/apikeys{rest}");
    vec![
        get(at(""), "listKeys", "Lists the keys of a subscription", subs::list_keys)
            .gives::<[Value; 0]>(200, "No plan has keys."),
        post(at("/_renew"), "renewKey", "Makes a new key; no plan has keys", subs::renew),
        put(at("/{key}"), "updateKey", "Changes a key; no plan has keys", subs::find_key),
        delete(at("/{key}"), "revokeKey", "Revokes a key; no plan has keys", subs::find_key),
        post(
            at("/{key}/_reactivate"),
            "reactivateKey",
            "Brings a key back; no plan has keys",
            subs::find_key,
        ),
    ]
}

fn application_calls() -> Vec<Call> {
    use applications::Written;
    vec![
        post("applications", "createApplication", "Creates an application", applications::create)
            .takes::<Written>()
            .gives::<ApplicationEntity<'_>>(201, "It is created; `Location` has its address."),
        get("applications", "listApplications", "Lists applications", applications::list)
            .query::<Vec<String>>("status", "`ACTIVE` or `ARCHIVED`; those in use when absent.")
            .query::<Vec<String>>("ids", "Only these.")
            .query::<Vec<String>>("group", "Only those in one of these groups.")
            .query::<String>("query", "Only those with this in their name.")
            .gives::<Vec<ApplicationEntity<'_>>>(200, "All of them."),
        get("applications/{application}", "getApplication", "Shows an application", applications::get)
            .gives::<ApplicationEntity<'_>>(200, "It."),
        put(
            "applications/{application}",
            "updateApplication",
            "Changes an application",
            applications::update,
        )
        .takes::<Written>()
        .gives::<ApplicationEntity<'_>>(200, "It is changed."),
        delete(
            "applications/{application}",
            "archiveApplication",
            "Puts an application away",
            applications::archive,
        )
        .gives_nothing(204, "It is archived, its subscriptions are closed."),
        post(
            "applications/{application}/_restore",
            "restoreApplication",
            "Brings an application back",
            applications::restore,
        )
        .gives::<ApplicationEntity<'_>>(200, "It is in use again."),
    ]
}

fn consumer_calls() -> Vec<Call> {
    let at = |rest: &str| format!("applications/{{application}}/subscriptions{rest}");
    vec![
        post(
            at(""),
            "createSubscriptionOfApplication",
            "Asks for a subscription",
            subs::create_of_application,
        )
        .query::<String>("plan", "The plan; needed.")
        .may_take::<Body>()
        .gives::<SubscriptionEntity>(201, "It is asked for, or accepted."),
        paged(get(
            at(""),
            "listSubscriptionsOfApplication",
            "Lists the subscriptions of an application",
            subs::list_of_application,
        ))
        .query::<Vec<String>>("api", "Only those to these APIs.")
        .query::<Vec<String>>("plan", "Only those by these plans.")
        .query::<Vec<String>>("status", "Only those in these states; `ACCEPTED` when absent.")
        .query::<Vec<String>>("expand", "`security`, `keys`: shown with each line.")
        .gives::<SubscriptionPage>(200, "A page of them."),
        get(
            at("/{subscription}"),
            "getSubscriptionOfApplication",
            "Shows a subscription",
            subs::get_of_application,
        )
        .gives::<SubscriptionEntity>(200, "It."),
        put(
            at("/{subscription}"),
            "updateSubscriptionOfApplication",
            "Changes how a subscriber is called",
            subs::update_of_application,
        )
        .may_take::<Body>()
        .gives::<SubscriptionEntity>(200, "It is changed; the publisher may have to agree again."),
        delete(
            at("/{subscription}"),
            "closeSubscriptionOfApplication",
            "Closes a subscription for good",
            subs::close_of_application,
        )
        .gives::<SubscriptionEntity>(200, "It is closed."),
        post(
            at("/{subscription}/_changeConsumerStatus"),
            "changeConsumerStatus",
            "Starts or stops a subscription",
            subs::change_consumer_status,
        )
        .query::<String>("status", "`STARTED` or `STOPPED`.")
        .gives::<SubscriptionEntity>(200, "It is started, or stopped."),
        get(
            at("/{subscription}/apikeys"),
            "listKeysOfApplication",
            "Lists the keys of a subscription",
            subs::list_keys_of_application,
        )
        .gives::<[Value; 0]>(200, "No plan has keys."),
        post(
            at("/{subscription}/apikeys/_renew"),
            "renewKeyOfApplication",
            "Makes a new key; no plan has keys",
            subs::renew,
        ),
        delete(
            at("/{subscription}/apikeys/{key}"),
            "revokeKeyOfApplication",
            "Revokes a key; no plan has keys",
            subs::find_key_of_application,
        ),
    ]
}
