//! The addresses of the contract.

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};

use super::{apis, applications, request::BASE};
use crate::Registry;

/// Every call of the contract that is served.
pub(crate) fn routes() -> Router<Registry> {
    let calls: [(&str, MethodRouter<Registry>); 11] = [
        ("v4/apis", post(apis::create).get(apis::list)),
        ("v4/apis/{api}", get(apis::get).put(apis::update).post(apis::act).delete(apis::delete)),
        ("v4/apis/{api}/deploy", post(apis::deploy)),
        ("v4/apis/{api}/picture", get(apis::image)),
        ("v4/apis/{api}/background", get(apis::image)),
        ("v4/apis/{api}/plans", post(apis::create_plan).get(apis::list_plans)),
        ("v4/apis/{api}/plans/{plan}", get(apis::get_plan).put(apis::update_plan)),
        ("v4/apis/{api}/plans/{plan}/_publish", post(apis::publish_plan)),
        ("v4/apis/{api}/plans/{plan}/_close", post(apis::close_plan)),
        ("applications", post(applications::create).get(applications::list)),
        ("applications/{application}", get(applications::get)),
    ];
    calls.into_iter().fold(Router::new(), |router, (path, methods)| {
        let path = format!("{BASE}/{path}");
        // Clients of this contract write a slash at the end, or not.
        router.route(&format!("{path}/"), methods.clone()).route(&path, methods)
    })
}
