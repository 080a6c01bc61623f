//! What a request's token must allow.

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, StatusCode};

use super::reply::Failure;
use crate::secure::keyring::Keyring;
use crate::secure::tokens::Role;

/// The role that a request needs; none for what tells nothing about the data.
fn needed(method: &Method, path: &str) -> Option<Role> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/health" | "/ready" | "/openapi.json" => None,
        // GET is one way to write here: the path decides.
        "/set" | "/cas" | "/append" | "/delete" | "/txn" => Some(Role::Write),
        _ if path.starts_with("/kvraft/") && !reads => Some(Role::Write),
        _ if path.starts_with("/cluster/") && !(reads && path == "/cluster/members") => Some(Role::Admin),
        _ => Some(Role::Read),
    }
}

/// Lets a request pass, or not.
///
/// # Errors
/// 401 without a token that is known, 403 when its role does not suffice.
pub fn admit(keyring: &Keyring, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(needed) = needed(method, path) else {
        return Ok(());
    };
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|header| header.to_str().ok())
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let judged = keyring.judge(|tokens| token.and_then(|token| tokens.role(token)));
    match judged {
        None => Ok(()),
        Some(Some(role)) if role >= needed => Ok(()),
        Some(Some(role)) => Err(Failure::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            format!(
                "this token has the role {}, and {} is needed",
                role.name(),
                needed.name()
            ),
        )),
        Some(None) => Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "send a known token: Authorization: Bearer TOKEN",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_needs_its_role() {
        for (method, path, role) in [
            (Method::GET, "/health", None),
            (Method::GET, "/ready", None),
            (Method::GET, "/get", Some(Role::Read)),
            (Method::HEAD, "/get", Some(Role::Read)),
            (Method::GET, "/metrics", Some(Role::Read)),
            (Method::GET, "/status", Some(Role::Read)),
            (Method::GET, "/watch", Some(Role::Read)),
            (Method::GET, "/nowhere", Some(Role::Read)),
            (Method::GET, "/set", Some(Role::Write)),
            (Method::POST, "/txn", Some(Role::Write)),
            (Method::GET, "/kvraft/k", Some(Role::Read)),
            (Method::POST, "/kvraft/k", Some(Role::Write)),
            (Method::DELETE, "/kvraft/k", Some(Role::Write)),
            (Method::GET, "/cluster/members", Some(Role::Read)),
            (Method::POST, "/cluster/members", Some(Role::Admin)),
            (Method::DELETE, "/cluster/members/n1", Some(Role::Admin)),
            (Method::GET, "/cluster/transfer", Some(Role::Admin)),
            (Method::POST, "/cluster/snapshot", Some(Role::Admin)),
            (Method::GET, "/cluster/backup", Some(Role::Admin)),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }
}
