//! The way of one request through the gateway: find its API, admit it, run the policies that meet it, hand it to
//! the receiver it asks for.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use sluice_api::{Receiver, ReceiverConfig};
use sluice_policy::Caller;
use sluice_receiver::{Body, Client, Refusal, accepts_json, http_get, http_post, sse, websocket};

use crate::{Gateway, deployment::Deployment, exchange, target};

/// The two ends of a connection.
#[derive(Debug, Clone)]
pub struct Ends {
    /// Who connected.
    pub client: Client,
    /// Where it was accepted.
    pub local: SocketAddr,
}

impl Gateway {
    /// Answers one request that came by a connection with these ends.
    pub async fn serve(&self, request: Request<Incoming>, ends: Ends) -> Result<Response<Body>, Infallible> {
        let json = accepts_json(request.headers());
        let has_body = !request.body().is_end_stream();
        let answer = |refusal: Refusal| {
            let mut response = refusal.into_response(json);
            if has_body {
                // What is left of the body is not waited for, so no other request can follow it. A client
                // that is not told would send one, and lose it (RFC 9112 section 9.6).
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        };
        let (deployment, below) = match self.find(&request) {
            Ok(found) => found,
            Err(refusal) => return Ok(answer(refusal)),
        };
        let Some(cors) = &deployment.cors else {
            return Ok(self.answer(&deployment, below, request, ends).await.unwrap_or_else(answer));
        };
        if let Some(preflight) = cors.preflight(request.method(), request.headers()) {
            return Ok(preflight.unwrap_or_else(answer));
        }
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = self.answer(&deployment, below, request, ends).await.unwrap_or_else(answer);
        cors.mark(origin.as_ref(), response.headers_mut());
        Ok(response)
    }

    /// The API of a request, and how many bytes at the end of its path are below the API's own.
    fn find(&self, request: &Request<Incoming>) -> Result<(Arc<Deployment>, usize), Refusal> {
        let host = target::check(request)?;
        let routes = self.routes();
        let found = routes.find(host, request.uri().path());
        let found = found.map(|(deployment, below)| (Arc::clone(deployment), below.len()));
        found.ok_or_else(|| {
            let text = "No context-path matches the request URI.";
            self.unrouted(StatusCode::NOT_FOUND, "route.none", text)
        })
    }

    /// The answer of an API.
    async fn answer(
        &self,
        deployment: &Arc<Deployment>,
        below: usize,
        request: Request<Incoming>,
        ends: Ends,
    ) -> Result<Response<Body>, Refusal> {
        let in_flight = deployment.binding.in_flight.token();
        let Some(receiver) = chosen(deployment, &request) else {
            if request.method() == Method::GET && deployment.receiver("websocket").is_some() {
                return Err(websocket::upgrade_required());
            }
            return Err(self.no_receiver());
        };
        if let Some(refusal) = deployment.unkept_promise(receiver) {
            return Err(refusal);
        }
        let caller = self.admitted(deployment, receiver.configuration.kind(), below, &request, &ends)?;
        let caller = self.met(deployment, caller).await?;
        // The receiver may keep its client for as long as the answer lasts.
        let answered = deployment.binding.chains.responds(&caller).then(|| caller.clone());
        let mut response = self.received(deployment, receiver, &Arc::new(caller), request, ends).await?;
        if let Some(caller) = answered {
            deployment.respond(caller, &mut response);
        }
        drop(in_flight);
        Ok(response)
    }

    /// Who asks, if a plan of the API takes them.
    fn admitted(
        &self,
        deployment: &Deployment,
        receiver: &'static str,
        below: usize,
        request: &Request<Incoming>,
        ends: &Ends,
    ) -> Result<Caller, Refusal> {
        let path = request.uri().path();
        let below = &path[path.len() - below..];
        let chains = &deployment.binding.chains;
        let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let mut caller = Caller::new(chains, receiver, below).with_accept(accept);
        if chains.reads_request() {
            caller = caller.with_request(Arc::new(exchange::describe(request, ends, below)));
        }
        let plan = deployment.admit(&caller).ok_or_else(|| {
            let text = "This API has no published plan that admits requests without a credential.";
            self.unrouted(StatusCode::UNAUTHORIZED, "plan.none", text)
        })?;
        Ok(caller.with_plan(plan))
    }

    /// The client after the policies that meet it, within the time that these may take.
    async fn met(&self, deployment: &Deployment, mut caller: Caller) -> Result<Caller, Refusal> {
        let chains = &deployment.binding.chains;
        let timeout = self.options().request_timeout;
        let connected = tokio::time::timeout(timeout, chains.connect(&mut caller)).await;
        connected.map_err(|_| {
            let text = "Request timeout: the policies of this API took too long.";
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "request.timeout", text)
        })??;
        Ok(caller)
    }

    /// The answer of a receiver.
    async fn received(
        &self,
        deployment: &Deployment,
        receiver: &Receiver,
        caller: &Arc<Caller>,
        request: Request<Incoming>,
        ends: Ends,
    ) -> Result<Response<Body>, Refusal> {
        let binding = &deployment.binding;
        match &receiver.configuration {
            ReceiverConfig::HttpPost(settings) => http_post::serve(binding, settings, caller, request).await,
            ReceiverConfig::Sse(settings) => {
                let (request, caller) = (request.into_parts().0, Arc::clone(caller));
                sse::serve(binding, settings, receiver.qos, caller, &request, &ends.client).await
            }
            ReceiverConfig::Websocket(settings) => {
                let host = target::host(&request).map(str::to_owned);
                let (request, caller, host) = (request.into_parts().0, Arc::clone(caller), host.as_deref());
                websocket::open(binding, settings, receiver.qos, caller, &request, host, &ends.client).await
            }
            ReceiverConfig::HttpGet(settings) => {
                let (request, caller) = (request.into_parts().0, Arc::clone(caller));
                http_get::serve(binding, settings, receiver.qos, caller, &request, &ends.client).await
            }
            // Its clients are called.
            ReceiverConfig::Webhook(_) => Err(self.no_receiver()),
        }
    }

    fn no_receiver(&self) -> Refusal {
        let text = "No entrypoint matches the incoming request. The API is here, but it takes neither this method \
                    nor this Accept header.";
        self.unrouted(StatusCode::NOT_FOUND, "receiver.none", text)
    }

    fn unrouted(&self, status: StatusCode, code: &'static str, text: &str) -> Refusal {
        self.metrics().unrouted.inc();
        Refusal::new(status, code, text)
    }
}

/// The receiver that a request asks for: the one that asks most of it.
fn chosen<'a>(deployment: &'a Deployment, request: &Request<Incoming>) -> Option<&'a Receiver> {
    let (method, headers) = (request.method(), request.headers());
    let get = method == Method::GET;
    let wanted: [(bool, &str); 4] = [
        (websocket::is_asked_for(method, headers), "websocket"),
        (get && accepts_event_stream(headers), "sse"),
        (get, "http-get"),
        (method == Method::POST, "http-post"),
    ];
    let mut asked = wanted.into_iter().filter(|(asked, _)| *asked);
    asked.find_map(|(_, kind)| deployment.receiver(kind))
}

fn accepts_event_stream(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|range| {
            range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
        })
    })
}
