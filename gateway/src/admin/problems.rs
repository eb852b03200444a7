//! Every error of the HTTP side, once: its slug, status and title, sent as a problem document (RFC 9457).
//!
//! Gets: which problem it is. Gives: the answer.
//! Never: repeats what the client sent, or tells what went wrong inside.

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A problem. Its `type` is `/problems/SLUG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is nothing under this path.
    NotFound,
    /// There is, but not for this method; `Allow` says for which.
    MethodNotAllowed,
    /// A fault of ours; the log has more.
    Internal,
}

impl Problem {
    /// The last part of its `type`: for programs, never changes.
    pub fn slug(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Internal => "internal",
        }
    }

    /// Its status code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Its title: for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "This path does not take this method",
            Self::Internal => "The node failed to answer; its log says why",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "type": format!("/problems/{}", self.slug()), "title": self.title(), "status": self.status().as_u16() });
        (self.status(), [(CONTENT_TYPE, "application/problem+json"), (CACHE_CONTROL, "no-store")], body.to_string()).into_response()
    }
}
