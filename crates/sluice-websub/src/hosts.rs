//! How often the callbacks of one host may be called by a hub for reasons of its own: to verify, to deny. Whoever asks
//! need not be who is called, so this is what keeps a hub from being turned against somebody.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sluice_api::ApiId;
use tokio::time::Instant;
use url::{Host, Url};

/// What the limit is counted by.
const WINDOW: Duration = Duration::from_secs(60);

/// Hosts that are counted at once.
const MAX_HOSTS: usize = 65_536;

/// A request that is not taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its host has had as many as it may; it is free again after so long.
    Limited(Duration),
    /// As many other hosts are counted as can be.
    Full,
}

/// The requests of the last minute, by API and host.
#[derive(Debug)]
pub(crate) struct Hosts {
    windows: Mutex<HashMap<(ApiId, String), Window>>,
    most: usize,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Instant,
    count: u32,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { windows: Mutex::default(), most: MAX_HOSTS }
    }
}

impl Hosts {
    /// Counts a request for a callback, of which a minute has so many.
    pub(crate) fn admit(&self, api: &ApiId, callback: &str, per_minute: u32) -> Result<(), Refused> {
        let (now, key) = (Instant::now(), (api.clone(), host(callback)));
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= self.most && !windows.contains_key(&key) {
            windows.retain(|_, window| window.ends > now);
            if windows.len() >= self.most {
                return Err(Refused::Full);
            }
        }
        let fresh = Window { ends: now + WINDOW, count: 0 };
        let window = windows.entry(key).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        if window.count >= per_minute {
            return Err(Refused::Limited(window.ends - now));
        }
        window.count += 1;
        Ok(())
    }
}

/// The host of a callback, the same for every way to write it. The parser has made names lower case and all forms of
/// an IPv4 address into one.
fn host(callback: &str) -> String {
    let url = Url::parse(callback).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_canonical().to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(id: &str) -> ApiId {
        ApiId(id.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_has_its_number_of_requests_a_minute_and_no_more() {
        let hosts = Hosts::default();
        let ask = |callback: &str| hosts.admit(&api("a"), callback, 2);
        assert_eq!((ask("http://victim.example/1"), ask("https://VICTIM.example:8443/2")), (Ok(()), Ok(())));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(ask("http://victim.example./3"), Err(Refused::Limited(Duration::from_secs(40))));
        assert_eq!(ask("http://other.example/"), Ok(()));
        assert_eq!(hosts.admit(&api("b"), "http://victim.example/", 2), Ok(()));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(ask("http://victim.example/4"), Ok(()));
    }

    #[test]
    fn every_form_of_an_address_is_the_same_host() {
        for callback in
            ["http://1.2.3.4/", "http://0x1020304", "http://16909060:80", "http://[::ffff:1.2.3.4]"]
        {
            assert_eq!(host(callback), "1.2.3.4", "{callback}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_beyond_the_bound_wait_until_others_are_forgotten() {
        let hosts = Hosts { most: 2, ..Hosts::default() };
        let ask = |callback: &str| hosts.admit(&api("a"), callback, 60);
        assert_eq!((ask("http://a/"), ask("http://b/"), ask("http://a/")), (Ok(()), Ok(()), Ok(())));
        assert_eq!(ask("http://c/"), Err(Refused::Full));
        tokio::time::advance(WINDOW).await;
        assert_eq!(ask("http://c/"), Ok(()));
    }
}
