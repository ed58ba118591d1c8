//! One call of one subscriber, and what its answer means.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};
use sluice_api::{Callback, HubTerms, Problem, WebhookConfig};
use url::Url;

use crate::{
    Failure,
    auth::Auth,
    client::{Clients, Outbound, Settings},
    guard::{Refused, Unresolved},
    hub_call::HubCall,
    request::{Request, own_headers},
    retry::retry_after,
    signature::Signer,
};

/// How much of an answer is read. A connection whose answer is longer is closed instead of used again.
const MAX_ANSWER: usize = 64 << 10;

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The subscriber has the message.
    Delivered(StatusCode),
    /// It may take the message later, at the earliest after this wait if it said so.
    Later(Failure, Option<Duration>),
    /// It does not take this message.
    Refused(Failure),
    /// It cannot be called at all.
    Unusable(Failure),
}

/// How one subscriber is called.
pub(crate) struct Exchange {
    outbound: Arc<Outbound>,
    url: Url,
    pub(crate) own_headers: HeaderMap,
    /// Where it is called by a hub.
    pub(crate) hub: Option<HubCall>,
    auth: Auth,
    signer: Option<Signer>,
    timeout: Duration,
    longest_wait: Duration,
}

impl Outbound {
    /// Judges an address before it is called: one that is written out in any case, a name where a proxy will
    /// resolve it. Then a name that is not known here is not called, and none of its addresses may be refused,
    /// as the proxy chooses among them. What the name means to the proxy may differ; that is the most that can
    /// be known here.
    ///
    /// # Errors
    /// It may not be called (`delivery.address.refused`), or not as long as its name is not known.
    pub(crate) async fn admit(&self, url: &Url) -> Result<(), Failure> {
        let Some(host) = url.host() else { return Ok(()) };
        let refused = |refused: &Refused| Failure::new("delivery.address.refused", format!("{refused}."));
        self.guard.check_host(&host).map_err(|error| refused(&error))?;
        let url::Host::Domain(name) = host else { return Ok(()) };
        if !self.proxied {
            return Ok(());
        }
        match self.guard.resolve_all(name).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.downcast_ref().map_or_else(|| unknown(name, &error), refused)),
        }
    }
}

fn unknown(name: &str, error: &Unresolved) -> Failure {
    let message = format!("{name} cannot be judged before the proxy is asked for it: {error}.");
    Failure::new("delivery.unreachable", message)
}

impl Exchange {
    /// Reads what a subscriber says about how it is called, and what it has agreed on with a hub.
    ///
    /// # Errors
    /// Something of it cannot be used; paths are relative to the callback, or begin with `proxy` or `hub`.
    pub(crate) fn new(
        (callback, hub): (&Callback, Option<&HubTerms>),
        webhook: &WebhookConfig,
        clients: &Clients,
        longest_wait: Duration,
    ) -> Result<Self, Problem> {
        clients.guard().check_url(&callback.callback_url).map_err(|problem| problem.within("callbackUrl"))?;
        let url = Url::parse(&callback.callback_url).map_err(|error| {
            Problem::new(
                "callbackUrl",
                "subscription.configuration.invalid",
                format!("This is no URL: {error}."),
            )
        })?;
        let settings = Settings::new(callback.ssl.as_ref(), webhook.proxy.as_ref(), &webhook.http);
        Ok(Self {
            outbound: clients.get(&settings)?,
            url,
            own_headers: own_headers(callback),
            hub: hub.map(HubCall::new).transpose().map_err(|problem| problem.within("hub"))?,
            auth: Auth::new(&callback.auth, clients.guard()).map_err(|problem| problem.within("auth"))?,
            signer: callback.signature.as_ref().map(Signer::new),
            timeout: Duration::from_millis(webhook.http.read_timeout),
            longest_wait,
        })
    }

    /// Calls the subscriber and judges its answer.
    pub(crate) async fn call(&self, request: &Request) -> Answer {
        match self.answer(request).await {
            Ok((status, headers)) => self.judge(status, &headers),
            Err(failure) => unanswered(failure),
        }
    }

    /// Sends a message once; twice where a token is not taken that may have been good before.
    async fn answer(&self, request: &Request) -> Result<(StatusCode, HeaderMap), Failure> {
        self.outbound.admit(&self.url).await?;
        let credentials = self.auth.get(&self.outbound, self.timeout).await?;
        let answer = self.send(request, credentials.as_ref()).await?;
        if answer.0 != StatusCode::UNAUTHORIZED || !self.auth.renew(credentials.as_ref()).await {
            return Ok(answer);
        }
        let credentials = self.auth.get(&self.outbound, self.timeout).await?;
        self.send(request, credentials.as_ref()).await
    }

    async fn send(
        &self,
        request: &Request,
        credentials: Option<&HeaderValue>,
    ) -> Result<(StatusCode, HeaderMap), Failure> {
        let mut headers = request.headers.clone();
        if let Some(credentials) = credentials {
            headers.insert(AUTHORIZATION, credentials.clone());
        }
        if let Some(signer) = &self.signer {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            signer.sign(&mut headers, &request.id, now.as_secs(), &request.body);
        }
        let call = self.outbound.client.post(self.url.clone()).timeout(self.timeout).headers(headers);
        let sent = call.body(request.body.clone()).send().await;
        let mut response = sent.map_err(|error| Failure::of_exchange(&error, self.host()))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        read(response).await;
        Ok((status, headers))
    }

    fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Answer {
        let host = self.host();
        let failure = |code, message: String| Failure {
            status: Some(status.as_u16()),
            // What a server answers with these it has not taken.
            ambiguous: !matches!(status.as_u16(), 429 | 503),
            ..Failure::new(code, message)
        };
        let code = status.as_u16();
        match code {
            200..=299 => Answer::Delivered(status),
            410 => Answer::Unusable(failure(
                "delivery.gone",
                format!("Gone: {host} answered 410 and wants no more calls. Use another address."),
            )),
            300..=399 => Answer::Refused(failure(
                "delivery.redirect",
                format!(
                    "{host} answered {code}; redirects are not followed. Subscribe with the final address."
                ),
            )),
            // The proxy's own word, and no server's.
            407 if self.outbound.proxied => Answer::Later(Failure::of_proxy(host), None),
            408 | 425 | 429 | 500..=599 => {
                let wait = matches!(code, 429 | 503)
                    .then(|| retry_after(headers, SystemTime::now(), self.longest_wait));
                Answer::Later(failure("delivery.status", format!("{host} answered {code}.")), wait.flatten())
            }
            _ => Answer::Refused(failure("delivery.refused", format!("{host} answered {code}."))),
        }
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

fn unanswered(failure: Failure) -> Answer {
    match failure.code {
        "delivery.address.refused" => Answer::Unusable(failure),
        _ => Answer::Later(failure, None),
    }
}

/// What an answer holds, up to the bound, or up to where it broke.
pub(crate) async fn read(mut response: reqwest::Response) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body.freeze()
}
