//! Every error of the HTTP side, once: its slug, status and title, sent as a problem document (RFC 9457).
//!
//! Gets: which problem it is, and words of ours. Gives: the answer.
//! Never: repeats what the client sent, or tells what went wrong inside.

use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A problem. Its `type` is `/problems/SLUG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is nothing under this path.
    NotFound,
    /// There is, but not for this method; `Allow` says for which.
    MethodNotAllowed,
    /// A parameter or the body is not what the call takes.
    Invalid,
    /// Neither token nor certificate, or none that is known.
    Unauthorized,
    /// The token was good once.
    TokenExpired,
    /// The token is not good from this address.
    WrongNetwork,
    /// The token does not have the scope that the call wants.
    OutOfScope,
    /// Too many wrong tokens.
    TooManyAttempts,
    /// `Host` does not name this node.
    ForeignHost,
    /// The body is not JSON.
    MediaType,
    /// The body is too long.
    TooLarge,
    /// It cannot be done in the state the node is in.
    Conflict,
    /// Too many of these run already.
    Busy,
    /// A node that is needed does not answer.
    Silent,
    /// A fault of ours; the log has more.
    Internal,
}

/// Slug, status and title of each.
const TABLE: [(Problem, &str, StatusCode, &str); 15] = [
    (Problem::NotFound, "not-found", StatusCode::NOT_FOUND, "There is nothing here"),
    (Problem::MethodNotAllowed, "method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "This path does not take this method"),
    (Problem::Invalid, "invalid", StatusCode::BAD_REQUEST, "A parameter or the body is not what this call takes"),
    (Problem::Unauthorized, "unauthorized", StatusCode::UNAUTHORIZED, "This needs a token of the tokens file, or a certificate that it names"),
    (Problem::TokenExpired, "token-expired", StatusCode::UNAUTHORIZED, "The token has expired"),
    (Problem::WrongNetwork, "wrong-network", StatusCode::FORBIDDEN, "The token is not good from this address"),
    (Problem::OutOfScope, "out-of-scope", StatusCode::FORBIDDEN, "The token does not have the scope that this call wants"),
    (Problem::TooManyAttempts, "too-many-attempts", StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens from this address"),
    (Problem::ForeignHost, "foreign-host", StatusCode::MISDIRECTED_REQUEST, "The host that was asked for is not this node; admin.allowed_hosts names others"),
    (Problem::MediaType, "media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"),
    (Problem::TooLarge, "too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too long"),
    (Problem::Conflict, "conflict", StatusCode::CONFLICT, "It cannot be done in the state the node is in"),
    (Problem::Busy, "busy", StatusCode::SERVICE_UNAVAILABLE, "Too many of these run already"),
    (Problem::Silent, "silent", StatusCode::GATEWAY_TIMEOUT, "The node that this is about does not answer"),
    (Problem::Internal, "internal", StatusCode::INTERNAL_SERVER_ERROR, "The node failed to answer; its log says why"),
];

impl Problem {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(problem, ..)| *problem)
    }

    /// The last part of its `type`: for programs, never changes.
    pub fn slug(self) -> &'static str {
        self.row().1
    }

    /// Its status code.
    pub fn status(self) -> StatusCode {
        self.row().2
    }

    /// Its title: for people.
    pub fn title(self) -> &'static str {
        self.row().3
    }

    fn row(self) -> &'static (Self, &'static str, StatusCode, &'static str) {
        TABLE.iter().find(|(problem, ..)| *problem == self).unwrap_or(&TABLE[TABLE.len() - 1])
    }
}

/// A problem with what is to be said about this very request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub problem: Problem,
    /// In words, what to do.
    pub detail: Option<String>,
    /// What is wrong where: a JSON pointer into the body, or the name of a parameter.
    pub errors: Vec<(String, String)>,
    /// The methods that the path takes.
    pub allow: Option<String>,
    /// When to come again.
    pub retry_after: Option<u32>,
    /// The id of the request.
    pub request: Option<String>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, detail: None, errors: Vec::new(), allow: None, retry_after: None, request: None }
    }
}

impl Refusal {
    /// With words.
    pub fn because(problem: Problem, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..problem.into() }
    }

    /// One thing is wrong at one place.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { errors: vec![(pointer.into(), detail.into())], ..Problem::Invalid.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { problem, detail, errors, allow, retry_after, request } = self;
        let mut body = json!({ "type": format!("/problems/{}", problem.slug()), "title": problem.title(), "status": problem.status().as_u16() });
        if let Some(detail) = detail {
            body["detail"] = detail.into();
        }
        if !errors.is_empty() {
            body["errors"] = errors.into_iter().map(|(pointer, detail)| json!({ "pointer": pointer, "detail": detail })).collect::<Value>();
        }
        if let Some(request) = request {
            body["request_id"] = request.into();
        }
        let mut answer = (problem.status(), [(CONTENT_TYPE, "application/problem+json"), (CACHE_CONTROL, "no-store")], body.to_string()).into_response();
        let headers = answer.headers_mut();
        if problem.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(ALLOW, allow);
        }
        answer
    }
}

impl IntoResponse for Problem {
    /// Marked, so that the guard in front of the API knows what no call has counted.
    fn into_response(self) -> Response {
        let mut answer = Refusal::from(self).into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_problem_has_its_own_slug() {
        let slugs: BTreeSet<_> = Problem::all().map(Problem::slug).collect();
        assert_eq!(slugs.len(), TABLE.len());
        assert!(Problem::all().all(|problem| problem.row().0 == problem));
    }
}
