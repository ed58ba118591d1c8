//! Which addresses may be called for a subscriber. Subscribers are strangers: none of them may make the
//! gateway call what only the gateway can reach.
//!
//! The same guard judges an address when a subscription is made ([`Guard::check_url`]) and again at every
//! connection: names are resolved by [`Guard::resolve`] alone, and the connection goes to an address that
//! was judged, so that a name that changes its mind in between gains nothing.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sluice_api::Problem;
use url::{Host, Url};

use crate::ranges;

/// What may be called beside public addresses.
#[derive(Debug, Clone, Default)]
pub struct GuardOptions {
    /// Networks that may be called although they are not public. Link-local addresses, where clouds keep
    /// their metadata, are among them only if a network given here holds them.
    pub allow: Vec<IpNet>,
}

impl GuardOptions {
    /// The loopback of this machine: what `dev` allows.
    pub fn loopback() -> Self {
        let v4 = IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8);
        let v6 = IpNet::new_assert(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128);
        Self { allow: vec![v4, v6] }
    }
}

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Why there is no address to call: [`Refused`], or what went wrong with the lookup.
pub(crate) type Unresolved = Box<dyn std::error::Error + Send + Sync>;

/// Judges addresses. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    options: Arc<GuardOptions>,
    lookup: Lookup,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("options", &self.options).finish_non_exhaustive()
    }
}

/// An address that may not be called, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is {kind}, which the gateway does not call for subscribers")]
pub struct Refused {
    /// The name or address as it stands in the URL.
    pub host: String,
    /// What the address is, as `a private address`.
    pub kind: &'static str,
}

impl Guard {
    /// A guard that resolves names as the system does.
    pub fn new(options: GuardOptions) -> Self {
        Self::with_lookup(options, Arc::new(|name| Box::pin(system_lookup(name))))
    }

    /// A guard that resolves names in another way.
    pub fn with_lookup(options: GuardOptions, lookup: Lookup) -> Self {
        Self { options: Arc::new(options), lookup }
    }

    /// Whether this URL may be called as far as can be told without resolving its name. The problem has no
    /// path; the caller knows the field.
    ///
    /// # Errors
    /// No http or https URL, or a host that may not be called.
    pub fn check_url(&self, url: &str) -> Result<(), Problem> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(host) = parsed.as_ref().and_then(Url::host) else {
            let message = "Must be an http or https URL, as https://hooks.example/orders.";
            return Err(Problem::new("", "subscription.configuration.invalid", message));
        };
        self.check_host(&host).map_err(|refused| {
            let message = format!("{refused}. The operator can allow a network by webhooks.allow.");
            Problem::new("", "subscription.address.refused", message)
        })
    }

    /// Whether this host may be called as far as can be told without resolving its name. The URL parser has
    /// made every way to write an IPv4 address (decimal, octal, hexadecimal) into one already.
    ///
    /// # Errors
    /// It may not.
    pub fn check_host(&self, host: &Host<&str>) -> Result<(), Refused> {
        match host {
            Host::Ipv4(address) => self.check_ip(IpAddr::V4(*address), &address.to_string()),
            Host::Ipv6(address) => self.check_ip(IpAddr::V6(*address), &address.to_string()),
            Host::Domain(name) => match ranges::local_name(name) {
                Some(kind) if !self.allows_name(kind) => Err(Refused { host: (*name).to_owned(), kind }),
                _ => Ok(()),
            },
        }
    }

    /// The addresses of a name, or of an address in place of one, that may be called; at least one.
    ///
    /// # Errors
    /// The name is not known, or none of its addresses may be called.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        match self.judge(name).await? {
            (allowed, Some(refused)) if allowed.is_empty() => Err(refused.into()),
            (allowed, _) => Ok(allowed),
        }
    }

    /// The same where somebody else chooses among the addresses, as a proxy does: all of them must be such that
    /// may be called.
    ///
    /// # Errors
    /// The name is not known, or one of its addresses may not be called.
    pub async fn resolve_all(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        match self.judge(name).await? {
            (_, Some(refused)) => Err(refused.into()),
            (allowed, None) => Ok(allowed),
        }
    }

    /// The addresses that may be called, and why one of the others may not; at least one of either.
    async fn judge(&self, name: &str) -> Result<(Vec<IpAddr>, Option<Refused>), Unresolved> {
        // SOCKS has addresses resolved like names, those of IPv6 with their brackets.
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            self.check_ip(address, name)?;
            return Ok((vec![address], None));
        }
        self.check_host(&Host::Domain(name))?;
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in (self.lookup)(name.to_owned()).await? {
            match self.check_ip(address, name) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        if allowed.is_empty() && refused.is_none() {
            return Err(format!("the name {name} has no address").into());
        }
        Ok((allowed, refused))
    }

    fn check_ip(&self, address: IpAddr, host: &str) -> Result<(), Refused> {
        match ranges::kind(address) {
            Some(kind) if !self.allows(address) => Err(Refused { host: host.to_owned(), kind }),
            _ => Ok(()),
        }
    }

    /// Whether a name of this kind may turn out to be allowed once its address is known.
    fn allows_name(&self, kind: &str) -> bool {
        let mut allowed = self.options.allow.iter();
        allowed.any(|network| network.network().is_loopback() == (kind == ranges::THIS_MACHINE))
    }

    fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address within an IPv6 one is allowed where the IPv4 address itself is, unless the network
        // around it is not public either: it is in another place then.
        let public = ranges::own_kind(address).is_none();
        let within = ranges::embedded_ipv4(address).filter(|_| public).map(IpAddr::V4);
        let holds = |address: &IpAddr| self.options.allow.iter().any(|network| network.contains(address));
        holds(&address) || within.as_ref().is_some_and(holds)
    }
}

/// The guard as the one resolver of a client. `trusted` are the names of proxies, which the publisher of the
/// API or the operator has set and which commonly are private ones.
pub(crate) struct GuardedResolver {
    pub(crate) guard: Guard,
    pub(crate) trusted: Vec<String>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        let trusted = self.trusted.iter().any(|trusted| trusted.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let addresses = if trusted {
                (guard.lookup)(name.as_str().to_owned()).await?
            } else {
                guard.resolve(name.as_str()).await?
            };
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

async fn system_lookup(name: String) -> io::Result<Vec<IpAddr>> {
    let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
    Ok(addresses.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(guard: &Guard, url: &str) -> bool {
        match guard.check_url(url) {
            Ok(()) => false,
            Err(problem) => {
                assert_eq!(problem.code, "subscription.address.refused", "{url}: {problem}");
                true
            }
        }
    }

    #[test]
    fn addresses_that_only_the_gateway_can_reach_are_refused_however_they_are_written() {
        let guard = Guard::new(GuardOptions::default());
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "127.0.0.1.",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "169.254.0.1",
            "0xa9fea9fe",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0",
            "0.1.2.3",
            "192.0.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::1]",
            "[::ffff:0:7f00:1]",
            "[::ffff:0:169.254.169.254]",
            "[2a00::5efe:10.0.0.1]",
            "[2a00::200:5efe:127.0.0.1]",
            "[fe80::5efe:8.8.8.8]",
            "[2002:7f00:1::]",
            "[2002:a00:1::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fdff::1]",
            "[fe80::1]",
            "[febf::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[2001::1]",
            "[2001:10::1]",
            "[100::1]",
            "[3fff::1]",
            "[5f00::1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "localhost.localdomain",
            "ip6-localhost",
            "metadata.google.internal",
            "metadata",
            "instance-data",
            "x.internal",
            "printer.local",
            "a.home.arpa",
        ] {
            assert!(refused(&guard, &format!("http://{host}/x")), "{host}");
            assert!(refused(&guard, &format!("https://{host}:8443")), "{host}");
        }
    }

    #[test]
    fn public_addresses_and_names_are_called() {
        let guard = Guard::new(GuardOptions::default());
        for host in [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.255.255",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "11.0.0.1",
            "169.253.255.255",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2a00::1]",
            "[64:ff9b::808:808]",
            "[2002:808:808::1]",
            "[::ffff:0:808:808]",
            "[2a00::5efe:8.8.8.8]",
            "[2a00::400:5efe:127.0.0.1]",
            "hooks.example",
            "webhook.site",
            "internal.example",
            "notlocalhost",
            "local.example",
        ] {
            assert!(!refused(&guard, &format!("http://{host}/x")), "{host}");
        }
    }

    #[test]
    fn what_is_no_http_url_is_a_fault_of_its_own() {
        for url in ["", "ftp://8.8.8.8", "http://", "gopher://127.0.0.1:11211/_stats", "8.8.8.8"] {
            let problem = Guard::new(GuardOptions::loopback()).check_url(url).unwrap_err();
            assert_eq!(problem.code, "subscription.configuration.invalid", "{url}");
        }
    }

    #[test]
    fn an_allowed_network_is_called_and_no_other() {
        let loopback = Guard::new(GuardOptions::loopback());
        for host in
            ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "[::ffff:127.0.0.1]", "[::ffff:0:7f00:1]"]
        {
            assert!(!refused(&loopback, &format!("http://{host}/")), "{host}");
        }
        for host in [
            "10.0.0.1",
            "169.254.169.254",
            "[fe80::1]",
            "metadata.google.internal",
            "0.0.0.0",
            "[fc00::5efe:127.0.0.1]",
        ] {
            assert!(refused(&loopback, &format!("http://{host}/")), "{host}");
        }
        let private = Guard::new(GuardOptions { allow: vec!["10.1.0.0/16".parse().unwrap()] });
        assert!(!refused(&private, "http://10.1.2.3/"));
        assert!(refused(&private, "http://10.2.0.1/") && refused(&private, "http://localhost/"));
    }

    fn resolving_to(addresses: &'static [&'static str]) -> Guard {
        let lookup: Lookup = Arc::new(move |_| {
            Box::pin(async move { Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()) })
        });
        Guard::with_lookup(GuardOptions::default(), lookup)
    }

    #[tokio::test]
    async fn a_name_is_called_only_at_addresses_that_may_be_called() {
        let mixed = resolving_to(&["10.0.0.1", "8.8.8.8", "::1"]).resolve("hooks.example").await.unwrap();
        assert_eq!(mixed, ["8.8.8.8".parse::<IpAddr>().unwrap()]);
        let error = resolving_to(&["169.254.169.254"]).resolve("hooks.example").await.unwrap_err();
        let refused = error.downcast::<Refused>().unwrap();
        assert_eq!((&*refused.host, refused.kind), ("hooks.example", "a link-local address"));
        assert!(resolving_to(&[]).resolve("hooks.example").await.is_err());
        assert!(resolving_to(&["8.8.8.8"]).resolve("localhost").await.is_err());
    }

    #[tokio::test]
    async fn where_another_chooses_among_the_addresses_all_must_be_allowed() {
        let public = resolving_to(&["8.8.8.8", "1.1.1.1"]).resolve_all("hooks.example").await.unwrap();
        assert_eq!(public.len(), 2);
        let error = resolving_to(&["8.8.8.8", "10.0.0.1"]).resolve_all("hooks.example").await.unwrap_err();
        assert!(error.is::<Refused>(), "{error}");
        let error = resolving_to(&[]).resolve_all("hooks.example").await.unwrap_err();
        assert!(!error.is::<Refused>(), "{error}");
    }
}
