//! How often the callbacks of one host may be called by a hub for reasons of its own: to verify, to deny. Whoever asks
//! need not be who is called, so this is what keeps a hub from being turned against somebody.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sluice_api::ApiId;
use tokio::time::Instant;
use url::{Host, Url};

/// What the limit is counted by.
const WINDOW: Duration = Duration::from_secs(60);

/// The requests of the last minute, by API and host: as many counters as a [`Place`] has values. So a flood of names
/// neither takes memory without bound nor keeps others away; hosts that share a counter share a limit, and which those
/// are nobody can know.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    seed: RandomState,
    windows: Mutex<HashMap<Place, Window>>,
}

/// What counters are told apart by.
type Place = u16;

#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Instant,
    count: u32,
}

impl Hosts {
    /// Counts a request for a callback, of which a minute has so many.
    ///
    /// # Errors
    /// It had them already; for how long it has to wait.
    pub(crate) fn admit(&self, api: &ApiId, callback: &str, per_minute: u32) -> Result<(), Duration> {
        let (now, place) = (Instant::now(), self.place(api, callback));
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { ends: now + WINDOW, count: 0 };
        let window = windows.entry(place).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        if window.count >= per_minute {
            return Err(window.ends - now);
        }
        window.count += 1;
        Ok(())
    }

    /// A number that the callbacks of one host at one API have in common, and hardly another.
    pub(crate) fn place(&self, api: &ApiId, callback: &str) -> Place {
        let [low, high, ..] = self.seed.hash_one((api, host(callback))).to_le_bytes();
        Place::from_le_bytes([low, high])
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
        assert_eq!(ask("http://victim.example./3"), Err(Duration::from_secs(40)));
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

    #[test]
    fn a_flood_of_hosts_keeps_none_away_and_takes_no_memory_without_bound() {
        let hosts = Hosts::default();
        for number in 0..70_000 {
            hosts.admit(&api("a"), &format!("http://{number}.evil.example/"), 60).unwrap();
        }
        assert_eq!(hosts.admit(&api("b"), "http://other.example/", 60), Ok(()));
        assert!(hosts.windows.lock().unwrap().len() <= 65_536);
    }
}
