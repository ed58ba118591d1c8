//! The way of one request through the gateway: find its API, admit it, run the policies that meet it, hand it to
//! the receiver it asks for.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use sluice_api::{Receiver, ReceiverConfig};
use sluice_policy::{Caller, Hook};
use sluice_receiver::{
    Binding, Body, Client, Refusal, accepts_json, chosen_channel, http_get, http_post, sse, websocket,
};

use crate::{Gateway, deployment::Deployment, exchange, hub, target};

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
        let answer = |refusal: Refusal, json: bool| {
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
            Err(refusal) => return Ok(answer(refusal, json)),
        };
        let path = request.uri().path();
        let json = json && !hub::speaks_text(&path[path.len() - below..], request.headers());
        let answer = |refusal| answer(refusal, json);
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
        let path = request.uri().path();
        let beside = hub::beside(deployment, path[path.len() - below..].trim_end_matches('/'));
        let answer = match beside {
            Some(beside) => self.answer_beside(deployment, beside, request, below, &ends).await,
            None => self.answer_of_receiver(deployment, below, request, ends).await,
        };
        drop(in_flight);
        answer
    }

    /// The answer of the receiver that a request asks for.
    async fn answer_of_receiver(
        &self,
        deployment: &Arc<Deployment>,
        below: usize,
        request: Request<Incoming>,
        ends: Ends,
    ) -> Result<Response<Body>, Refusal> {
        let Some(receiver) = chosen(deployment, &request) else {
            if let Some(found) = self.discover(deployment, &request, below, &ends) {
                return Ok(found);
            }
            if request.method() == Method::GET && deployment.receiver("websocket").is_some() {
                return Err(websocket::upgrade_required());
            }
            let path = request.uri().path();
            return Err(
                hub::no_topic(deployment, &path[path.len() - below..]).unwrap_or_else(|| self.no_receiver())
            );
        };
        if let Some(refusal) = deployment.unkept_promise(receiver) {
            return Err(refusal);
        }
        let kind = receiver.configuration.kind();
        let (binding, sub_path) = meant(deployment, kind, below, &request)?;
        let visit = Visit::of(kind, &request, described(deployment, &request, below, &ends));
        let caller = self.admitted(deployment, &visit, &sub_path)?;
        let caller = self.met(deployment, Hook::Connect, caller).await?;
        let binding = deployment.chosen(binding, receiver, &caller, self).await?;
        let links = self.links(deployment, &request, below, &ends);
        let answered = deployment.to_answer(&caller);
        let mut response = self.received(&binding, receiver, &Arc::new(caller), request, ends).await?;
        for link in links {
            response.headers_mut().append(header::LINK, link);
        }
        Ok(deployment.respond(answered, response))
    }

    /// Who asks, if a plan of the API takes them.
    pub(crate) fn admitted(
        &self,
        deployment: &Deployment,
        visit: &Visit,
        sub_path: &str,
    ) -> Result<Caller, Refusal> {
        let chains = &deployment.binding.chains;
        let mut caller = Caller::new(chains, visit.receiver, sub_path).with_accept(visit.accept.as_deref());
        if let Some(request) = &visit.request {
            caller = caller.with_request(Arc::clone(request));
        }
        let plan = deployment.admit(&caller).ok_or_else(|| {
            let text = "This API has no published plan that admits requests without a credential.";
            self.unrouted(StatusCode::UNAUTHORIZED, "plan.none", text)
        })?;
        Ok(caller.with_plan(plan))
    }

    /// The client after the policies that meet it at a hook, within the time that these may take.
    pub(crate) async fn met(
        &self,
        deployment: &Deployment,
        hook: Hook,
        mut caller: Caller,
    ) -> Result<Caller, Refusal> {
        let chains = &deployment.binding.chains;
        let timeout = self.options().request_timeout;
        let met = tokio::time::timeout(timeout, chains.meet(hook, &mut caller)).await;
        met.map_err(|_| {
            let text = "Request timeout: the policies of this API took too long.";
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "request.timeout", text)
        })??;
        Ok(caller)
    }

    /// The answer of a receiver.
    async fn received(
        &self,
        binding: &Arc<Binding>,
        receiver: &Receiver,
        caller: &Arc<Caller>,
        request: Request<Incoming>,
        ends: Ends,
    ) -> Result<Response<Body>, Refusal> {
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
            // Their clients are called, or have addresses of their own.
            ReceiverConfig::Webhook(_) | ReceiverConfig::Websub(_) | ReceiverConfig::WebhookReceiver(_) => {
                Err(self.no_receiver())
            }
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

/// A request as it is told to policies, without its body.
pub(crate) struct Visit {
    receiver: &'static str,
    accept: Option<String>,
    request: Option<Arc<sluice_policy::Request>>,
}

impl Visit {
    /// Of a request that came by this receiver.
    pub(crate) fn of(
        receiver: &'static str,
        request: &Request<Incoming>,
        described: Option<Arc<sluice_policy::Request>>,
    ) -> Self {
        let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Self { receiver, accept: accept.map(str::to_owned), request: described }
    }

    /// The same with its body, where that was read before policies meet the client.
    pub(crate) fn with_content(mut self, body: &Bytes) -> Self {
        if let Some(request) = self.request.as_mut().and_then(Arc::get_mut) {
            request.content = Some(body.clone());
        }
        self
    }
}

/// A request as expressions see it, where anything of the API reads it.
pub(crate) fn described(
    deployment: &Deployment,
    request: &Request<Incoming>,
    below: usize,
    ends: &Ends,
) -> Option<Arc<sluice_policy::Request>> {
    let path = request.uri().path();
    let reads = deployment.binding.chains.reads_request();
    reads.then(|| Arc::new(exchange::describe(request, ends, &path[path.len() - below..])))
}

/// What a receiver is given for a request, and the path by which flows are chosen: those of the channel that it asks
/// for, where the API has channels.
fn meant<'d>(
    deployment: &'d Deployment,
    receiver: &str,
    below: usize,
    request: &Request<Incoming>,
) -> Result<(&'d Arc<Binding>, String), Refusal> {
    let path = request.uri().path();
    let below = &path[path.len() - below..];
    if deployment.channels.is_empty() {
        return Ok((&deployment.binding, below.to_owned()));
    }
    let chosen = chosen_channel(&deployment.api, receiver, below, request.uri(), request.headers())?;
    Ok((hub::bound(deployment, chosen.name)?, chosen.sub_path()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_see_the_body_that_was_read_before_they_meet_the_client() {
        let request = Some(Arc::new(sluice_policy::Request::default()));
        let visit = Visit { receiver: "websub", accept: None, request };
        let visit = visit.with_content(&Bytes::from_static(b"hub.mode=subscribe"));
        assert_eq!(visit.request.unwrap().content.as_deref(), Some(&b"hub.mode=subscribe"[..]));
    }
}
