//! HTTP clients for calls, one for each distinct setting of TLS, proxy and times, shared by all subscriptions
//! that have it. Their pools of idle connections are bounded, redirects are not followed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use reqwest::{Client, Proxy, redirect};
use sluice_api::{CallbackHttp, CallbackProxy, CallbackTls, Problem, ProxyType};
use url::Url;

use crate::{Guard, guard::GuardedResolver, tls};

/// Idle connections that are kept for one host by one client: as many as one subscription may have under way.
const IDLE_PER_HOST: usize = 20;

/// Where the environment names proxies.
const ENVIRONMENT: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];

/// What connections are made by. Equal settings share a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) tls: CallbackTls,
    pub(crate) proxy: Option<CallbackProxy>,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) idle_timeout_ms: u64,
}

/// A client and whether it goes through a proxy, which resolves names by itself.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) client: Client,
    pub(crate) guard: Guard,
    pub(crate) proxied: bool,
}

/// All clients of a gateway.
#[derive(Debug)]
pub(crate) struct Clients {
    guard: Guard,
    made: Mutex<Made>,
}

/// A list, as there are few distinct settings; those that nobody uses any more are taken out.
type Made = Vec<(Settings, Weak<Outbound>)>;

impl Settings {
    pub(crate) fn new(tls: Option<&CallbackTls>, proxy: Option<&CallbackProxy>, http: &CallbackHttp) -> Self {
        Self {
            tls: tls.cloned().unwrap_or_default(),
            proxy: proxy.filter(|proxy| proxy.enabled).cloned(),
            connect_timeout_ms: http.connect_timeout,
            idle_timeout_ms: http.idle_timeout,
        }
    }
}

impl Clients {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard, made: Mutex::default() }
    }

    pub(crate) const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The client for these settings.
    ///
    /// # Errors
    /// Certificates, a key or a proxy that cannot be used.
    pub(crate) fn get(&self, settings: &Settings) -> Result<Arc<Outbound>, Problem> {
        if let Some(client) = find(&self.lock(), settings) {
            return Ok(client);
        }
        // Made without the lock, since reading certificates takes its time and all sessions would wait. Of two
        // that are made at once the first is kept.
        let client = Arc::new(build(settings, &self.guard)?);
        let mut made = self.lock();
        if let Some(first) = find(&made, settings) {
            return Ok(first);
        }
        made.retain(|(_, client)| client.strong_count() > 0);
        made.push((settings.clone(), Arc::downgrade(&client)));
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(made: &Made, settings: &Settings) -> Option<Arc<Outbound>> {
    made.iter().filter(|(of, _)| of == settings).find_map(|(_, client)| client.upgrade())
}

fn build(settings: &Settings, guard: &Guard) -> Result<Outbound, Problem> {
    let tls = tls::config(&settings.tls).map_err(|problem| problem.within("ssl"))?;
    let own_proxy = settings.proxy.as_ref().filter(|proxy| !proxy.use_system_proxy);
    let trusted = match (&settings.proxy, own_proxy) {
        (None, _) => Vec::new(),
        (Some(_), Some(proxy)) => vec![proxy.host.clone()],
        (Some(_), None) => hosts(ENVIRONMENT.iter().filter_map(|name| std::env::var(name).ok())),
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
        .pool_idle_timeout(Duration::from_millis(settings.idle_timeout_ms))
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .referer(false)
        .user_agent(concat!("Sluice/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(GuardedResolver { guard: guard.clone(), trusted });
    builder = match (&settings.proxy, own_proxy) {
        // The gateway's own environment counts only where the API says so.
        (None, _) => builder.no_proxy(),
        (Some(_), None) => builder,
        (Some(_), Some(proxy)) => builder.no_proxy().proxy(through(proxy)?),
    };
    let client = builder.build().map_err(|error| {
        Problem::new("", "subscription.configuration.invalid", format!("No client can be made: {error}."))
    })?;
    Ok(Outbound { client, guard: guard.clone(), proxied: settings.proxy.is_some() })
}

/// The hosts of proxies as an environment has them, where `http://` may be left out.
fn hosts(proxies: impl Iterator<Item = String>) -> Vec<String> {
    let host = |proxy: String| {
        let address = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
        Url::parse(&address).ok()?.host_str().map(str::to_owned)
    };
    proxies.filter_map(host).collect()
}

fn through(proxy: &CallbackProxy) -> Result<Proxy, Problem> {
    let scheme = match proxy.kind {
        ProxyType::Http => "http",
        ProxyType::Socks4 => "socks4",
        // Names are resolved here, so that the address that is called is one that was judged.
        ProxyType::Socks5 => "socks5",
    };
    let host = if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host.clone() };
    let address = Url::parse(&format!("{scheme}://{host}:{}", proxy.port));
    let proxied = address.map_err(|error| error.to_string()).and_then(|address| {
        let mut address = address;
        // In the address, because SOCKS takes them from nowhere else. There a percent sign is not escaped as
        // other characters are, and would begin an escape itself.
        let escaped = |text: &str| text.replace('%', "%25");
        if let Some(name) = &proxy.username {
            let password = proxy.password.as_ref().map(|password| escaped(password.expose()));
            let set =
                address.set_username(&escaped(name)).and_then(|()| address.set_password(password.as_deref()));
            set.map_err(|()| "it takes no user name".to_owned())?;
        }
        Proxy::all(address).map_err(|error| error.to_string())
    });
    proxied.map_err(|error| {
        let message = format!("The proxy of the API cannot be used: {error}.");
        Problem::new("proxy", "listeners.entrypoints.configuration.invalid", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GuardOptions;

    #[test]
    fn a_client_is_shared_though_it_was_made_twice_at_once() {
        let clients = Clients::new(Guard::new(GuardOptions::default()));
        let settings = Settings::new(None, None, &CallbackHttp::default());
        let made: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4).map(|_| scope.spawn(|| clients.get(&settings).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(made.iter().all(|client| Arc::ptr_eq(client, &made[0])));
        assert_eq!(clients.lock().len(), 1);
        drop(made);
        clients.get(&settings).unwrap();
        assert_eq!(clients.lock().len(), 1);
    }

    #[test]
    fn proxies_of_the_environment_are_known_by_their_hosts() {
        let written = ["http://me:pw@proxy.corp:3128", "proxy.local:8080", "socks5h://socks.corp", "", "::"];
        let found = hosts(written.into_iter().map(str::to_owned));
        assert_eq!(found, ["proxy.corp", "proxy.local", "socks.corp"]);
    }
}
