//! The table of the contract.

use serde_json::Value;

use super::{
    Error,
    api::ApiEntity,
    api_plans,
    apis::{self, Deployment, Verification, WantedPaths},
    patch,
    plan::PlanEntity,
    search::{self, Wanted},
    subscription::{KeyEntity, SubscriptionEntity},
    subscriptions,
    transfer::{self, Exported, Imported},
};
use crate::{
    contract::{self, Call, Contract, delete, get, post, put, schema_of},
    gravitee::{
        plans::WrittenPlan,
        plugins::{self, Naming},
        read::Written,
    },
    page::{Page, PageNumber, PerPage},
    replay,
};

/// Where every address of the contract begins; there is one organization with one environment.
pub(crate) const BASE: &str = "/management/v2";

/// Everything of the contract that is served.
pub(crate) fn contract() -> Contract {
    let mut calls = api_calls();
    calls.extend(plan_calls());
    calls.extend(subscription_calls());
    let at = ["plugins/entrypoints", "plugins/endpoints", "plugins/policies"];
    calls.extend(plugins::rows(Naming::Upper, at, "subscription-schema"));
    Contract {
        title: "Management v2",
        description: "The later contract: names of enums in capitals (read in any case), times in ISO 8601, lists \
                      in pages. Unknown fields are ignored, except where something that protects would be lost.",
        bases: &[BASE, "/management/v2/organizations/DEFAULT"],
        document: "/management/v2/openapi",
        error: schema_of::<Error>,
        calls,
    }
}

fn paged(call: Call) -> Call {
    call.query::<PageNumber>("page", "The number of the page, from 1.")
        .query::<PerPage>("perPage", "How many items a page has.")
}

fn api_calls() -> Vec<Call> {
    let at = |rest: &str| format!("environments/DEFAULT/apis{rest}");
    vec![
        post(at(""), "createApi", "Creates an API, stopped", apis::create)
            .takes::<Written>()
            .gives::<ApiEntity>(201, "It is created; `Location` has its address."),
        paged(get(at(""), "listApis", "Lists APIs in the order of creation", apis::list))
            .gives::<Page<ApiEntity>>(200, "A page of them."),
        paged(post(at("/_search"), "searchApis", "Searches APIs", search::search))
            .query::<String>(
                "sortBy",
                "`name`, `paths`, `status`, `visibility`; with `-` in front backwards.",
            )
            .takes::<Wanted>()
            .gives::<Page<ApiEntity>>(200, "A page of those that were found."),
        post(
            at("/_verify/paths"),
            "verifyPaths",
            "Tells whether an API could have these paths",
            apis::verify_paths,
        )
        .takes::<WantedPaths>()
        .gives::<Verification>(200, "Whether it could."),
        post(
            at("/_import/definition"),
            "importApi",
            "Creates an API with its plans from an export",
            transfer::import,
        )
        .takes::<Imported>()
        .gives::<ApiEntity>(201, "It is created; `Location` has its address."),
        get(at("/{api}"), "getApi", "Shows an API", apis::get).tagged().gives::<ApiEntity>(200, "It."),
        put(at("/{api}"), "updateApi", "Replaces the draft of an API", apis::update)
            .tagged()
            .conditional()
            .takes::<Written>()
            .gives::<ApiEntity>(200, "It is changed; what runs stays as it is until the next deployment."),
        contract::patch(at("/{api}"), "patchApi", "Changes parts of the draft of an API", apis::patch)
            .tagged()
            .conditional()
            .query::<bool>("dryRun", "Only `false` is served.")
            .takes_as::<Value>(&patch::MEDIA)
            .gives::<ApiEntity>(200, "It is changed; what runs stays as it is until the next deployment."),
        delete(at("/{api}"), "deleteApi", "Deletes a stopped API", apis::delete)
            .conditional()
            .query::<bool>("closePlans", "Whether open plans are closed with it.")
            .gives_nothing(204, "It is deleted, with its plans and subscriptions."),
        post(at("/{api}/_start"), "startApi", "Starts an API; the first time, it is deployed", apis::start)
            .tagged()
            .conditional()
            .gives_nothing(204, "It is started."),
        post(at("/{api}/_stop"), "stopApi", "Stops an API", apis::stop)
            .tagged()
            .conditional()
            .gives_nothing(204, "It is stopped."),
        post(at("/{api}/deployments"), "deployApi", "Makes the draft of an API what runs", apis::deploy)
            .tagged()
            .conditional()
            .may_take::<Deployment>()
            .gives_nothing(202, "It is deployed."),
        get(
            at("/{api}/_export/definition"),
            "exportApi",
            "Shows an API with its plans in one document",
            transfer::export,
        )
        .gives::<Exported>(200, "It; secrets are masked."),
        get(at("/{api}/picture"), "getPicture", "Shows the picture of an API", apis::image)
            .gives_nothing(204, "It has none."),
        get(at("/{api}/background"), "getBackground", "Shows the background of an API", apis::image)
            .gives_nothing(204, "It has none."),
    ]
}

fn plan_calls() -> Vec<Call> {
    let at = |rest: &str| format!("environments/DEFAULT/apis/{{api}}/plans{rest}");
    vec![
        post(at(""), "createPlan", "Adds a plan to an API", api_plans::create)
            .takes::<WrittenPlan>()
            .gives::<PlanEntity>(201, "It is added; `Location` has its address."),
        paged(get(at(""), "listPlans", "Lists the plans of an API in their order", api_plans::list))
            .query::<Vec<String>>("statuses", "Only plans of these statuses; `PUBLISHED` when absent.")
            .query::<Vec<String>>("securities", "Only plans that ask for one of these credentials.")
            .query::<Vec<String>>("mode", "Only `STANDARD` or only `PUSH` plans.")
            .gives::<Page<PlanEntity>>(200, "A page of them."),
        get(at("/{plan}"), "getPlan", "Shows a plan", api_plans::get)
            .tagged()
            .gives::<PlanEntity>(200, "It."),
        put(at("/{plan}"), "updatePlan", "Changes a plan; takes effect at once", api_plans::update)
            .tagged()
            .takes::<WrittenPlan>()
            .gives::<PlanEntity>(200, "It is changed."),
        delete(at("/{plan}"), "deletePlan", "Deletes a plan without subscriptions", api_plans::delete)
            .gives_nothing(204, "It is deleted."),
        post(at("/{plan}/_publish"), "publishPlan", "Publishes a staging plan", api_plans::publish)
            .gives::<PlanEntity>(200, "It is published."),
        post(
            at("/{plan}/_deprecate"),
            "deprecatePlan",
            "Closes a plan to new subscriptions",
            api_plans::deprecate,
        )
        .gives::<PlanEntity>(200, "It is deprecated."),
        post(
            at("/{plan}/_close"),
            "closePlan",
            "Closes a plan and its subscriptions for good",
            api_plans::close,
        )
        .gives::<PlanEntity>(200, "It is closed."),
    ]
}

fn subscription_calls() -> Vec<Call> {
    use subscriptions as it;
    let at = |rest: &str| format!("environments/DEFAULT/apis/{{api}}/subscriptions{rest}");
    let mut calls = vec![
        post(at(""), "createSubscription", "Subscribes an application to a plan", it::create)
            .takes::<it::Written>()
            .gives::<SubscriptionEntity>(201, "It is accepted; `Location` has its address."),
        paged(get(at(""), "listSubscriptions", "Lists the subscriptions to an API", it::list))
            .query::<Vec<String>>("applicationIds", "Only those of these applications.")
            .query::<Vec<String>>("planIds", "Only those by these plans.")
            .query::<Vec<String>>("statuses", "Only those in these states.")
            .query::<String>("apiKey", "Only those of this key; no plan has keys.")
            .gives::<Page<SubscriptionEntity>>(200, "A page of them."),
        post(at("/_verify"), "verifySubscription", "Tells whether a key can be used", it::verify)
            .takes::<it::KeyWanted>()
            .gives::<Verification>(200, "Whether it can."),
        get(at("/{subscription}"), "getSubscription", "Shows a subscription", it::get)
            .gives::<SubscriptionEntity>(200, "It."),
        put(
            at("/{subscription}"),
            "updateSubscription",
            "Changes a subscription; takes effect at once",
            it::update,
        )
        .takes::<it::Change>()
        .gives::<SubscriptionEntity>(200, "It is changed."),
        post(
            at("/{subscription}/_accept"),
            "acceptSubscription",
            "Agrees to a pending subscription",
            it::accept,
        )
        .may_take::<it::Words>()
        .gives::<SubscriptionEntity>(200, "It is accepted."),
        post(
            at("/{subscription}/_reject"),
            "rejectSubscription",
            "Turns a pending subscription down",
            it::reject,
        )
        .may_take::<it::Words>()
        .gives::<SubscriptionEntity>(200, "It is rejected."),
        post(
            at("/{subscription}/_transfer"),
            "transferSubscription",
            "Moves a subscription to another plan",
            it::transfer,
        )
        .takes::<it::Transfer>()
        .gives::<SubscriptionEntity>(200, "It is moved."),
        paged(get(at("/{subscription}/api-keys"), "listKeys", "Lists the keys of a subscription", it::keys))
            .gives::<Page<KeyEntity>>(200, "A page of them: no plan has keys."),
    ];
    calls.extend(subscription_steps());
    calls
}

/// Steps in the life of a subscription that need no words.
fn subscription_steps() -> Vec<Call> {
    use subscriptions as it;
    let at = |rest: &str| format!("environments/DEFAULT/apis/{{api}}/subscriptions/{{subscription}}/{rest}");
    vec![
        post(at("_pause"), "pauseSubscription", "Has a subscription pause", it::pause)
            .gives::<SubscriptionEntity>(200, "It pauses; its position is kept."),
        post(at("_resume"), "resumeSubscription", "Ends the pause of a subscription", it::resume)
            .gives::<SubscriptionEntity>(200, "It goes on where it stopped."),
        post(at("_close"), "closeSubscription", "Closes a subscription for good", it::close)
            .gives::<SubscriptionEntity>(200, "It is closed."),
        post(
            at("_resumeFailure"),
            "resumeFailure",
            "Goes on after a failure, with the message that failed",
            it::resume_failure,
        )
        .gives::<SubscriptionEntity>(200, "It goes on."),
        post(
            at("_changeConsumerStatus"),
            "changeConsumerStatus",
            "Starts or stops a subscription on behalf of its consumer",
            it::change_consumer_status,
        )
        .query::<String>("status", "`STARTED` or `STOPPED`.")
        .gives::<SubscriptionEntity>(200, "It is started, or stopped."),
        replay::call(at("_replay")),
    ]
}
