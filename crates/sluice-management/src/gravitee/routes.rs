//! The addresses of the contract.

use axum::{
    Router,
    routing::{MethodRouter, delete, get, post, put},
};

use super::{apis, applications, plan_calls as plans, request::BASE, subscriptions};
use crate::Registry;

type Calls = Vec<(&'static str, MethodRouter<Registry>)>;

/// Where portals subscribe.
const PORTAL: &str = "/portal/environments/DEFAULT";

/// Every call of the contract that is served.
pub(crate) fn routes() -> Router<Registry> {
    let calls = [apis(), subscriptions_of_api(), applications(), subscriptions_of_application()];
    let calls = calls.into_iter().flatten().map(|(path, methods)| (format!("{BASE}/{path}"), methods));
    let portal = (format!("{PORTAL}/subscriptions"), post(subscriptions::subscribe_from_portal));
    calls.chain([portal]).fold(Router::new(), |router, (path, methods)| {
        // Clients of this contract write a slash at the end, or not.
        router.route(&format!("{path}/"), methods.clone()).route(&path, methods)
    })
}

fn apis() -> Calls {
    vec![
        ("v4/apis", post(apis::create).get(apis::list)),
        ("v4/apis/{api}", get(apis::get).put(apis::update).post(apis::act).delete(apis::delete)),
        ("v4/apis/{api}/deploy", post(apis::deploy)),
        ("v4/apis/{api}/picture", get(apis::image)),
        ("v4/apis/{api}/background", get(apis::image)),
        ("v4/apis/{api}/plans", post(plans::create).get(plans::list)),
        ("v4/apis/{api}/plans/{plan}", get(plans::get).put(plans::update).delete(plans::delete)),
        ("v4/apis/{api}/plans/{plan}/_publish", post(plans::publish)),
        ("v4/apis/{api}/plans/{plan}/_deprecate", post(plans::deprecate)),
        ("v4/apis/{api}/plans/{plan}/_depreciate", post(plans::deprecate)),
        ("v4/apis/{api}/plans/{plan}/_close", post(plans::close)),
    ]
}

fn subscriptions_of_api() -> Calls {
    use subscriptions as it;
    vec![
        ("v4/apis/{api}/subscribers", get(it::subscribers)),
        ("v4/apis/{api}/subscriptions", post(it::create).get(it::list)),
        ("v4/apis/{api}/subscriptions/_canCreate", get(it::can_create)),
        ("v4/apis/{api}/subscriptions/{subscription}", get(it::get).put(it::update).delete(it::close)),
        ("v4/apis/{api}/subscriptions/{subscription}/status", post(it::change_status)),
        ("v4/apis/{api}/subscriptions/{subscription}/_process", post(it::process)),
        ("v4/apis/{api}/subscriptions/{subscription}/_transfer", post(it::transfer)),
        ("v4/apis/{api}/subscriptions/{subscription}/apikeys", get(it::list_keys)),
        ("v4/apis/{api}/subscriptions/{subscription}/apikeys/_renew", post(it::renew)),
        ("v4/apis/{api}/subscriptions/{subscription}/apikeys/{key}", put(it::find_key).delete(it::find_key)),
        ("v4/apis/{api}/subscriptions/{subscription}/apikeys/{key}/_reactivate", post(it::find_key)),
    ]
}

fn applications() -> Calls {
    vec![
        ("applications", post(applications::create).get(applications::list)),
        (
            "applications/{application}",
            get(applications::get).put(applications::update).delete(applications::archive),
        ),
        ("applications/{application}/_restore", post(applications::restore)),
    ]
}

fn subscriptions_of_application() -> Calls {
    use subscriptions as it;
    vec![
        (
            "applications/{application}/subscriptions",
            post(it::create_of_application).get(it::list_of_application),
        ),
        (
            "applications/{application}/subscriptions/{subscription}",
            get(it::get_of_application).put(it::update_of_application).delete(it::close_of_application),
        ),
        (
            "applications/{application}/subscriptions/{subscription}/_changeConsumerStatus",
            post(it::change_consumer_status),
        ),
        (
            "applications/{application}/subscriptions/{subscription}/apikeys",
            get(it::list_keys_of_application),
        ),
        ("applications/{application}/subscriptions/{subscription}/apikeys/_renew", post(it::renew)),
        (
            "applications/{application}/subscriptions/{subscription}/apikeys/{key}",
            delete(it::find_key_of_application),
        ),
    ]
}
