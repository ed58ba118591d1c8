//! Guarded GETs: what a hub asks its subscribers, tells them, and reads of a topic's content. They go through the
//! same clients, guard and proxy as the calls of the same API. No message is on its way here, and nothing is tried
//! again.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use sluice_api::{Callback, Problem, WebhookConfig};
use tokio::time::timeout;
use url::Url;

use crate::{
    Deliveries, Failure,
    client::{Outbound, Settings},
};

/// Sends GETs to addresses that strangers name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<Outbound>);

/// An answer, whatever its status: redirects are not followed.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

impl Deliveries {
    /// What fetches by these settings: their proxy, their connection times. The time for the answer is given with
    /// each GET.
    ///
    /// # Errors
    /// A proxy that cannot be used; the path begins with `proxy`.
    pub fn fetcher(&self, webhook: &WebhookConfig) -> Result<Fetcher, Problem> {
        let settings = Settings::new(None, webhook.proxy.as_ref(), &webhook.http);
        self.0.clients.get(&settings).map(Fetcher)
    }

    /// Whether this may be the address of a subscriber, as far as can be told without resolving its name. The
    /// problem has no path; the caller knows the field.
    ///
    /// # Errors
    /// No http or https URL, one with a name or password, one that is longer than 2048 bytes, or a host that may
    /// not be called.
    pub fn check_url(&self, url: &str) -> Result<(), Problem> {
        if let Some(problem) = Callback::to(url).problems().into_iter().next() {
            return Err(Problem::new("", problem.code, problem.message));
        }
        self.0.clients.guard().check_url(url)
    }
}

impl Fetcher {
    /// Gets what is at an address, within this time from the lookup of its name to the last byte of its body.
    ///
    /// # Errors
    /// No http or https URL or one with a name or password (`delivery.address.invalid`), a host that may not be
    /// called (`delivery.address.refused`), no answer in time (`delivery.timeout`), a body of more than `max_bytes`
    /// (`delivery.answer.too-large`), or no connection, as with calls.
    pub async fn get(&self, url: &str, within: Duration, max_bytes: usize) -> Result<Fetched, Failure> {
        let url = address(url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        match timeout(within, self.exchange(url, &host, max_bytes)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(Failure::new("delivery.timeout", format!("{host} did not answer in time."))),
        }
    }

    async fn exchange(&self, url: Url, host: &str, max_bytes: usize) -> Result<Fetched, Failure> {
        self.0.admit(&url).await?;
        let sent = self.0.client.get(url).send().await;
        let mut response = sent.map_err(|error| Failure::of_exchange(&error, host))?;
        let status = response.status();
        // The proxy's own word, and no server's.
        if self.0.proxied && status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(Failure::of_proxy(host));
        }
        let headers = std::mem::take(response.headers_mut());
        let body = whole(response, host, max_bytes).await?;
        Ok(Fetched { status, headers, body })
    }
}

/// An address that was not judged before: it may be one of the API, or have been kept for long.
fn address(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.filter(|url| url.username().is_empty() && url.password().is_none()).ok_or_else(|| {
        let message = "The address is no http or https URL, or holds a name or password.";
        Failure::new("delivery.address.invalid", message)
    })
}

async fn whole(mut response: Response, host: &str, max_bytes: usize) -> Result<Bytes, Failure> {
    let too_large = || {
        let message = format!("The answer of {host} is larger than {max_bytes} bytes.");
        Failure::new("delivery.answer.too-large", message)
    };
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of_exchange(&error, host))? {
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
