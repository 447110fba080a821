//! What holds for every request: who may ask, how long an answer may take, and how it is cached.

use std::{
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

use super::problem::Problem;

/// How long an answer may take to make.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// No address reads a body; a small one is tolerated.
const BODY_LIMIT: u64 = 16 * 1024;

/// Which names a request may call this server by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hosts {
    /// Only those of this machine. A page of a hostile site whose own name was made to resolve to
    /// 127.0.0.1 is same-origin to the browser, but still sends its own name.
    Loopback,
    /// Any: the server listens beyond this machine, where it has names that it cannot know.
    Any,
}

impl Hosts {
    /// What fits the address that the server listens at.
    pub fn for_listener(address: SocketAddr) -> Self {
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
pub async fn limit(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let mut response = match refusal(hosts, &request) {
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

fn refusal(hosts: Hosts, request: &Request) -> Option<Problem> {
    if !hosts.allow(request.headers()) {
        let detail = "this server answers to names of its own machine only: localhost, 127.0.0.1, [::1]";
        return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    let size = request.body().size_hint();
    if size.lower() > BODY_LIMIT {
        let detail = format!("a request body may have {BODY_LIMIT} bytes, and no address here reads one");
        return Some(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    None
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
    fn a_server_beyond_this_machine_answers_to_any_name() {
        let hosts = |address: &str| Hosts::for_listener(address.parse().unwrap());
        assert_eq!(hosts("127.0.0.1:0"), Hosts::Loopback);
        assert_eq!(hosts("[::1]:0"), Hosts::Loopback);
        assert_eq!(hosts("0.0.0.0:8080"), Hosts::Any);
    }
}
