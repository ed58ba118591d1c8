//! The way of one request through the gateway: find its API, admit it, hand it to the receiver it asks for.

use std::{convert::Infallible, net::SocketAddr};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use sluice_api::ReceiverConfig;
use sluice_receiver::{Body, Refusal, accepts_json, http_post, sse};

use crate::{Gateway, target};

impl Gateway {
    /// Answers one request; `client` is the other side of its connection.
    pub async fn serve(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let json = accepts_json(request.headers());
        let has_body = !request.body().is_end_stream();
        Ok(match self.dispatch(request, client).await {
            Ok(response) => response,
            Err(refusal) => {
                let mut response = refusal.into_response(json);
                if has_body {
                    // What is left of the body is not waited for, so no other request can follow it. A client
                    // that is not told would send one, and lose it (RFC 9112 section 9.6).
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        })
    }

    async fn dispatch(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<Body>, Refusal> {
        let host = target::check(&request)?;
        // Shares the request's bytes, so that the request itself can be handed on.
        let uri = request.uri().clone();
        // The guard is let go before anything is awaited, so that a deployment is not held up.
        let found = {
            let routes = self.routes();
            routes.find(host.as_deref(), uri.path()).map(|(found, below)| (found.clone(), below))
        };
        let Some((deployment, sub_path)) = found else {
            return Err(self.unrouted(
                StatusCode::NOT_FOUND,
                "route.none",
                "No context-path matches the request URI.",
            ));
        };
        let Some(plan) = deployment.admit() else {
            let text = "This API has no published plan that admits requests without a credential.";
            return Err(self.unrouted(StatusCode::UNAUTHORIZED, "plan.none", text));
        };
        let in_flight = deployment.binding.in_flight.token();
        if request.method() == Method::GET && accepts_event_stream(request.headers()) {
            let settings = deployment.receiver(|receiver| match receiver {
                ReceiverConfig::Sse(settings) => Some(settings),
                ReceiverConfig::HttpPost(_) => None,
            });
            if let Some(settings) = settings {
                let client = client.to_string();
                return sse::serve(&deployment.binding, settings, plan, sub_path, client).await;
            }
        }
        if request.method() == Method::POST {
            let settings = deployment.receiver(|receiver| match receiver {
                ReceiverConfig::HttpPost(settings) => Some(settings),
                ReceiverConfig::Sse(_) => None,
            });
            if let Some(settings) = settings {
                let timeout = self.options().body_timeout;
                let answer =
                    http_post::serve(&deployment.binding, settings, plan, sub_path, request, timeout).await;
                drop(in_flight);
                return answer;
            }
        }
        Err(self.unrouted(
            StatusCode::NOT_FOUND,
            "receiver.none",
            "No entrypoint matches the incoming request. The API is here, but it takes neither this method \
             nor this Accept header.",
        ))
    }

    fn unrouted(&self, status: StatusCode, code: &'static str, text: &str) -> Refusal {
        self.metrics().unrouted.inc();
        Refusal::new(status, code, text)
    }
}

fn accepts_event_stream(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|range| {
            range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
        })
    })
}
