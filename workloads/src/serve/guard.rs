//! Who may ask, and what every answer carries.

use std::net::IpAddr;

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, Method, StatusCode};

/// Why a request is not answered.
pub(super) fn refuse(
    method: &Method,
    host: Option<&str>,
    names: &[String],
) -> Option<(StatusCode, &'static str)> {
    if method != Method::GET && method != Method::HEAD {
        return Some((
            StatusCode::METHOD_NOT_ALLOWED,
            "this server is for reading: GET and HEAD only",
        ));
    }
    let Some(host) = host else {
        return Some((
            StatusCode::BAD_REQUEST,
            "a request must say by which name it found us (Host)",
        ));
    };
    if known(host, names) {
        None
    } else {
        Some((
            StatusCode::FORBIDDEN,
            "this server does not go by that name; start it with --allow-host NAME if it should",
        ))
    }
}

/// Whether this is a name of ours. A page from elsewhere can have its own name lead to our address (DNS
/// rebinding), but then that name stands here: addresses and `localhost` it cannot take.
fn known(host: &str, names: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || is_port(port) => address,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, _)) if is_port(&host[name.len()..]) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|port| port.parse::<u16>().is_ok())
}

/// Puts on an answer what keeps a browser within bounds.
pub(super) fn protect(headers: &mut HeaderMap, policy: &str) {
    let fixed: [(HeaderName, &'static str); 5] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_str(policy).expect("a policy is plain text");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readers_who_know_us_are_answered() {
        let names = ["ci-box".to_owned()];
        let allowed = [
            "127.0.0.1:8080",
            "127.0.0.1",
            "localhost:1",
            "LOCALHOST",
            "[::1]:8080",
            "[::1]",
            "192.168.1.7:80",
            "ci-box:8080",
            "CI-box",
        ];
        for host in allowed {
            assert_eq!(refuse(&Method::GET, Some(host), &names), None, "{host}");
            assert_eq!(refuse(&Method::HEAD, Some(host), &names), None, "{host}");
        }
        let strange = [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "localhost:x",
            "[::1",
            "[::1]x",
            "a:1:2",
            "127.0.0.1@evil.example",
        ];
        for host in strange {
            let refused = refuse(&Method::GET, Some(host), &names).map(|(status, _)| status);
            assert_eq!(refused, Some(StatusCode::FORBIDDEN), "{host}");
        }
        let status =
            |method: &Method, host: Option<&str>| refuse(method, host, &names).map(|(status, _)| status);
        assert_eq!(status(&Method::GET, None), Some(StatusCode::BAD_REQUEST));
        for method in [
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::CONNECT,
            Method::TRACE,
        ] {
            assert_eq!(
                status(&method, Some("localhost")),
                Some(StatusCode::METHOD_NOT_ALLOWED),
                "{method}"
            );
        }
    }
}
