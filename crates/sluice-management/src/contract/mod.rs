//! A management contract as one table of calls, from which both its router and its OpenAPI document are made:
//! what is served is documented, and the other way round.
//!
//! Which contracts there are, and what their calls do, is said elsewhere; here is only the form.

mod call;
mod openapi;
mod pages;

use axum::Router;

pub(crate) use call::{Call, delete, get, patch, post, put, schema_of};
pub(crate) use pages::pages;

use crate::Registry;

/// A management contract.
pub(crate) struct Contract {
    /// For people.
    pub(crate) title: &'static str,
    /// For people, in Markdown.
    pub(crate) description: &'static str,
    /// Where its calls are found, each of these with all of them; without a slash at the end.
    pub(crate) bases: &'static [&'static str],
    /// Where its document is served, without an ending for the format.
    pub(crate) document: &'static str,
    /// The schema of its error bodies.
    pub(crate) error: call::SchemaOf,
    /// Everything that it serves.
    pub(crate) calls: Vec<Call>,
}

impl Contract {
    /// Serves every call at every base.
    pub(crate) fn router(&self) -> Router<Registry> {
        self.bases.iter().fold(Router::new(), |router, base| router.merge(self.router_at(base)))
    }

    /// Serves every call at this base.
    pub(crate) fn router_at(&self, base: &str) -> Router<Registry> {
        let mut router = Router::new();
        for call in &self.calls {
            let path = format!("{base}/{}", call.path);
            // Clients write a slash at the end, or not.
            router =
                router.route(&format!("{path}/"), call.handler.clone()).route(&path, call.handler.clone());
        }
        router
    }
}
