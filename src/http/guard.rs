//! What holds for every request: who may ask, how long an answer may take, and how it is cached.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{
    body::HttpBody,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// How long an answer may take to make.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// No address reads a body; a small one is tolerated.
const BODY_LIMIT: u64 = 16 * 1024;

/// Asked by orchestrators and Prometheus, which have no token; they say nothing about any account.
const OPEN_TO_ALL: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Who may ask.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    hosts: Hosts,
    token: Option<Token>,
}

impl Guard {
    /// For a server that listens at `address` and demands `token`, if there is one.
    pub fn new(address: SocketAddr, token: Option<&str>) -> Self {
        Self { hosts: Hosts::for_listener(address), token: token.map(Token::new) }
    }

    fn refusal(&self, request: &Request) -> Option<Problem> {
        if !self.hosts.allow(request.headers()) {
            let detail = "this server answers to names of its own machine only: localhost, 127.0.0.1, [::1]";
            return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        let size = request.body().size_hint();
        if size.lower() > BODY_LIMIT {
            let detail = format!("a request body may have {BODY_LIMIT} bytes, and no address here reads one");
            return Some(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        if !self.admits(request) {
            let detail = "send the header `Authorization: Bearer TOKEN` with the token of `http.token`";
            return Some(Problem::new(StatusCode::UNAUTHORIZED, detail));
        }
        None
    }

    fn admits(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return true };
        OPEN_TO_ALL.contains(&request.uri().path()) || bearer(request.headers()).is_some_and(|it| token.is(it))
    }
}

/// What a request must bring, kept as its digest.
#[derive(Clone, Copy)]
struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    fn new(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Takes as long for a near miss as for any other: what is compared are digests, to their end.
    fn is(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let differing = self.0.iter().zip(presented).fold(0, |differing, (own, other)| differing | (own ^ other));
        std::hint::black_box(differing) == 0
    }
}

/// The token that a request presents. Two of them are as good as none: which one counts would be a
/// matter of taste.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut presented = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (presented.next()?.as_bytes(), presented.next()) else { return None };
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// Which names a request may call this server by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hosts {
    /// Only those of this machine. A page of a hostile site whose own name was made to resolve to
    /// 127.0.0.1 is same-origin to the browser, but still sends its own name.
    Loopback,
    /// Any: the server listens beyond this machine, where it has names that it cannot know.
    Any,
}

impl Hosts {
    /// What fits the address that the server listens at.
    fn for_listener(address: SocketAddr) -> Self {
        if address.ip().is_loopback() { Self::Loopback } else { Self::Any }
    }

    fn allow(self, headers: &HeaderMap) -> bool {
        match (self, headers.get(header::HOST)) {
            (Self::Any, _) | (Self::Loopback, None) => true,
            (Self::Loopback, Some(host)) => host.to_str().is_ok_and(is_loopback),
        }
    }
}

/// Checks a request before its handler sees it, and the time that the handler takes.
pub async fn limit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.refusal(&request) {
        Some(problem) => problem.into_response(),
        None => match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let detail = format!("no answer within {} s", TIME_LIMIT.as_secs());
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
            }
        },
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'"),
    );
    response
}

/// Whether a `Host` header names this machine, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_others() {
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "127.8.8.8", "[::1]", "[::1]:8080"] {
            assert!(is_loopback(own), "{own}");
        }
        for foreign in ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1:80", "[::2]:80", ""] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_token_comes_as_a_bearer() {
        let presented = |values: &[&str]| {
            let values = values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
            bearer(&values.collect()).map(|token| String::from_utf8_lossy(token).into_owned())
        };
        for value in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(presented(&[value]).as_deref(), Some("abc"), "{value}");
        }
        for values in [&[][..], &["Basic abc"], &["abc"], &["Bearer"], &["Bearer abc", "Bearer def"]] {
            assert_eq!(presented(values), None, "{values:?}");
        }
    }

    #[test]
    fn only_the_very_token_is_the_token() {
        let token = Token::new("0123456789abcdef");
        assert!(token.is(b"0123456789abcdef"));
        for other in ["", "0", "0123456789abcdeg", "1123456789abcdef", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_server_beyond_this_machine_answers_to_any_name() {
        let hosts = |address: &str| Hosts::for_listener(address.parse().unwrap());
        assert_eq!(hosts("127.0.0.1:0"), Hosts::Loopback);
        assert_eq!(hosts("[::1]:0"), Hosts::Loopback);
        assert_eq!(hosts("0.0.0.0:8080"), Hosts::Any);
    }
}
