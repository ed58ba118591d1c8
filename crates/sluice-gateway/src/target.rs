//! What a request asks for, read so that nobody can read it in another way.
//!
//! Routes and policies go by host and path. A request whose host or path can be understood in two ways would
//! be judged by one and meant as the other.

use http::{Request, StatusCode, Version, header};
use sluice_receiver::Refusal;

/// The [`host`] that a request is for. Refuses a request that names none or several, a path that is written
/// in a roundabout way, and transfer codings that are not undone here.
pub(crate) fn check<B>(request: &Request<B>) -> Result<Option<&str>, Refusal> {
    let bad = |code, text: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, code, text));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() < Version::HTTP_11 => {}
        (Some(host), None) if !host.is_empty() => {
            if !host.as_bytes().iter().all(|byte| may_be_in_host(*byte)) {
                return bad("request.host", "The Host header is not a host.");
            }
        }
        _ => return bad("request.host", "A request needs exactly one Host header."),
    }
    if !is_plain(request.uri().path()) {
        return bad(
            "request.path",
            "Write the path without '.' and '..' segments and without percent-encoding where none is needed.",
        );
    }
    let codings = request.headers().get_all(header::TRANSFER_ENCODING);
    if codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let text = "The only transfer coding that is understood is chunked.";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "request.transfer-coding", text));
    }
    Ok(host(request))
}

/// The characters of RFC 3986 section 3.2.2 and a port's colon. Others would be understood by nobody, and end in
/// addresses that are told to somebody else.
fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=[]:".contains(&byte)
}

/// The host that a request is for, once it was [checked](check): that of an absolute address, else of its one
/// `Host` header (RFC 9112 section 3.2).
pub(crate) fn host<B>(request: &Request<B>) -> Option<&str> {
    let absolute = request.uri().authority().map(http::uri::Authority::as_str);
    absolute.or_else(|| request.headers().get(header::HOST)?.to_str().ok())
}

/// Whether there is one way to write this path: no `.` and `..` segments, no escape for a character that
/// needs none (RFC 3986 section 2.3) or that would be a separator.
fn is_plain(path: &str) -> bool {
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return false;
    }
    path.split('%').skip(1).all(|after| {
        let escaped = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        escaped.is_some_and(|byte| {
            !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(uri: &str, headers: &[(&str, &str)]) -> Result<Option<String>, u16> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let host = check(&request).map(|host| host.map(str::to_owned));
        host.map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn a_request_is_for_one_host() {
        assert_eq!(checked("/a", &[("host", "h:1")]), Ok(Some("h:1".to_owned())));
        assert_eq!(checked("http://abs/a", &[("host", "other")]), Ok(Some("abs".to_owned())));
        let odd = [("host", "a<b>")];
        for hosts in [&[][..], &[("host", "")], &odd, &[("host", "a"), ("host", "b")]] {
            assert_eq!(checked("/a", hosts), Err(400));
        }
    }

    #[test]
    fn a_path_has_one_way_to_be_written() {
        for path in ["/a/%C3%A4", "/a%20b", "/a//b", "/...", "/a.b"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["/a/./b", "/a/..", "/%73ecret", "/a%2Fb", "/%2e%2e/", "/%", "/%4", "/%zz", "/%5C"] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn a_transfer_coding_beside_chunked_is_not_understood() {
        assert_eq!(checked("/a", &[("host", "h"), ("transfer-encoding", "gzip, chunked")]), Err(501));
        assert!(checked("/a", &[("host", "h"), ("transfer-encoding", "Chunked")]).is_ok());
    }
}
