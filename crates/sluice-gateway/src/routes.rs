//! Which event API a request belongs to. An immutable table, swapped as a whole on every deployment.

use std::{collections::HashMap, sync::Arc};

use crate::deployment::Deployment;

/// Every path of every deployed API.
#[derive(Default)]
pub(crate) struct Routes {
    any_host: Paths,
    hosts: HashMap<String, Paths>,
}

/// Paths without a trailing slash; the root is the empty string.
type Paths = HashMap<String, Arc<Deployment>>;

/// No API has a longer path, so that longer prefixes of a request's path need no look-up.
const LONGEST_PATH: usize = 1024;

impl Routes {
    pub(crate) fn new<'a>(deployments: impl Iterator<Item = &'a Arc<Deployment>>) -> Self {
        let mut routes = Self::default();
        for deployment in deployments {
            for path in &deployment.api.paths {
                let paths = match &path.host {
                    Some(host) => routes.hosts.entry(host.to_ascii_lowercase()).or_default(),
                    None => &mut routes.any_host,
                };
                let path = path.normalized().trim_end_matches('/').to_owned();
                paths.insert(path, Arc::clone(deployment));
            }
        }
        routes
    }

    /// The API whose path is the request's or the nearest above it, and what the request's path has below
    /// it (beginning with `/`, or empty). An API for this very host goes before one for all hosts.
    pub(crate) fn find<'p>(&self, host: Option<&str>, path: &'p str) -> Option<(&Arc<Deployment>, &'p str)> {
        let own = host.and_then(|host| {
            if self.hosts.is_empty() {
                None
            } else {
                self.hosts.get(&without_port(host).to_ascii_lowercase())
            }
        });
        own.and_then(|paths| nearest(paths, path)).or_else(|| nearest(&self.any_host, path))
    }
}

fn nearest<'t, 'p>(paths: &'t Paths, path: &'p str) -> Option<(&'t Arc<Deployment>, &'p str)> {
    let mut end = path.trim_end_matches('/').len();
    loop {
        if end <= LONGEST_PATH
            && let Some(deployment) = paths.get(&path[..end])
        {
            return Some((deployment, &path[end..]));
        }
        end = path[..end].rfind('/')?;
    }
}

/// The host of a `Host` header; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::tests::deployed;

    fn found(routes: &Routes, host: Option<&str>, path: &str) -> Option<(String, String)> {
        routes.find(host, path).map(|(found, below)| (found.api.name.clone(), below.to_owned()))
    }

    fn some(name: &str, below: &str) -> Option<(String, String)> {
        Some((name.to_owned(), below.to_owned()))
    }

    #[tokio::test]
    async fn a_request_goes_to_the_api_at_or_above_its_path() {
        let routes = Routes::new([deployed("a", None, "/a/b"), deployed("c", None, "/c/")].iter());
        assert_eq!(found(&routes, None, "/a/b"), some("a", ""));
        assert_eq!(found(&routes, None, "/a/b/"), some("a", "/"));
        assert_eq!(found(&routes, None, "/a/b/c/d"), some("a", "/c/d"));
        assert_eq!(found(&routes, None, "/c"), some("c", ""));
        for elsewhere in ["/a", "/a/bc", "/", "", "*", "/d"] {
            assert_eq!(found(&routes, None, elsewhere), None, "{elsewhere}");
        }
    }

    #[tokio::test]
    async fn an_api_for_the_host_goes_before_one_for_all() {
        let routes =
            Routes::new([deployed("all", None, "/a"), deployed("own", Some("H.example"), "/a")].iter());
        assert_eq!(found(&routes, Some("h.EXAMPLE:8082"), "/a"), some("own", ""));
        assert_eq!(found(&routes, Some("other.example"), "/a"), some("all", ""));
        assert_eq!(found(&routes, None, "/a"), some("all", ""));
    }

    #[tokio::test]
    async fn the_root_takes_what_no_other_api_takes() {
        let routes = Routes::new([deployed("root", None, "/")].iter());
        assert_eq!(found(&routes, None, "/x/y"), some("root", "/x/y"));
        assert_eq!(found(&routes, None, "/"), some("root", "/"));
    }

    #[tokio::test]
    async fn a_path_longer_than_any_api_can_have_is_looked_up_in_bounded_steps() {
        let routes = Routes::new([deployed("a", None, "/a")].iter());
        let long = format!("/a{}", "/x".repeat(30_000));
        assert_eq!(found(&routes, None, &long).map(|(name, _)| name), Some("a".to_owned()));
    }
}
