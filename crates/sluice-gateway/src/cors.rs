//! Cross-origin resource sharing (Fetch standard, section 3.2): which pages of other origins may use an event
//! API. Answers the browser's question beforehand (the preflight) and marks the answers that a page may read.
//!
//! It protects people, not the API: what is no browser is not held up by it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use sluice_api::Cors;
use sluice_receiver::{Body, Refusal};

/// The rules of one API, in the form in which they are sent.
#[derive(Debug)]
pub(crate) struct CorsRules {
    origins: Vec<String>,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

const ANY: &str = "*";

impl CorsRules {
    /// Rules from settings that are valid.
    pub(crate) fn new(cors: &Cors) -> Self {
        let list = |names: &[String]| HeaderValue::try_from(names.join(", ")).ok();
        let some = |names: &[String]| list(names).filter(|_| !names.is_empty());
        Self {
            origins: cors.allow_origin.clone(),
            methods: list(&cors.allow_methods).unwrap_or(HeaderValue::from_static("GET, POST")),
            headers: some(&cors.allow_headers),
            exposed: some(&cors.expose_headers),
            credentials: cors.allow_credentials,
            max_age: cors.max_age.map(HeaderValue::from),
        }
    }

    /// The answer to a preflight; `None` for any other request. A preflight has no credentials, so it is
    /// answered before any plan is asked.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Result<Response<Body>, Refusal>> {
        let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let origin = headers.get(header::ORIGIN).filter(|_| method == Method::OPTIONS && asks)?;
        if self.allowed(origin).is_none() {
            let text = "Pages of this origin may not use this API; its publisher decides which may.";
            return Some(Err(Refusal::new(StatusCode::FORBIDDEN, "cors.origin", text)));
        }
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        let mut optional = |name: HeaderName, value: &Option<HeaderValue>| {
            value.as_ref().map(|value| answer.insert(name, value.clone()));
        };
        optional(header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers);
        optional(header::ACCESS_CONTROL_MAX_AGE, &self.max_age);
        self.mark(Some(origin), answer);
        Some(Ok(response))
    }

    /// Adds to an answer what lets a page of this origin read it, if it may.
    pub(crate) fn mark(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        // Caches must not give the answer for one origin to another, also not the one without any mark.
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) else { return };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(exposed) = &self.exposed {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    /// What is sent back for an origin that may; `None` for one that may not.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        if self.origins.iter().any(|allowed| allowed == ANY) {
            return Some(HeaderValue::from_static(ANY));
        }
        let text = origin.to_str().ok()?;
        let known = self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(text));
        known.then(|| origin.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origin: &str, credentials: bool) -> CorsRules {
        CorsRules::new(&Cors {
            allow_origin: vec![origin.to_owned()],
            allow_methods: vec!["GET".to_owned(), "POST".to_owned()],
            allow_headers: vec!["X-Key".to_owned()],
            expose_headers: vec!["X-Seen".to_owned()],
            allow_credentials: credentials,
            max_age: Some(60),
        })
    }

    fn asking(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static(origin)),
            (header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST")),
        ])
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        let answer =
            rules("https://a.example", true).preflight(&Method::OPTIONS, &asking("https://a.example"));
        let answer = answer.unwrap().unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(header("access-control-allow-origin"), "https://a.example");
        assert_eq!(header("access-control-allow-methods"), "GET, POST");
        assert_eq!(header("access-control-allow-headers"), "X-Key");
        assert_eq!(header("access-control-allow-credentials"), "true");
        assert_eq!(header("access-control-max-age"), "60");
        assert_eq!(header("vary"), "Origin");
    }

    #[test]
    fn a_page_of_another_origin_is_refused_before_it_sends_anything() {
        let rules = rules("https://a.example", false);
        let answer = rules.preflight(&Method::OPTIONS, &asking("https://b.example"));
        assert_eq!(answer.unwrap().unwrap_err().status, StatusCode::FORBIDDEN);
        let mut headers = HeaderMap::new();
        rules.mark(Some(&HeaderValue::from_static("https://b.example")), &mut headers);
        assert!(!headers.contains_key("access-control-allow-origin"));
    }

    #[test]
    fn every_origin_is_answered_with_a_star() {
        let mut headers = HeaderMap::new();
        rules("*", false).mark(Some(&HeaderValue::from_static("https://b.example")), &mut headers);
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["access-control-expose-headers"], "X-Seen");
    }

    #[test]
    fn options_without_a_question_is_no_preflight() {
        let mut headers = asking("https://a.example");
        headers.remove(header::ACCESS_CONTROL_REQUEST_METHOD);
        assert!(rules("*", false).preflight(&Method::OPTIONS, &headers).is_none());
        assert!(rules("*", false).preflight(&Method::POST, &asking("https://a.example")).is_none());
    }
}
