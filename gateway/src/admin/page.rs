//! The built-in page: three files inside the binary, shown by the admin listener. All that it knows it asks of the API, with the token of whoever looks.
//!
//! Gets: GET of `/`, `/page.css`, `/page.js`. Gives: the files, under a policy that lets the browser load, run and ask nothing from anywhere else.
//! Never: a token, a byte that depends on the node or on who asks, a cookie.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The routes of the page.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page.css", get(async || file("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("page/page.js"))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, kind),
        // A new binary brings a new page.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_stands_alone() {
        let files = [include_str!("page/index.html"), include_str!("page/page.css"), include_str!("page/page.js")];
        assert!(files.iter().map(|text| text.len()).sum::<usize>() < 60 * 1024, "it stays small");
        for text in files {
            // The namespace of SVG is a name, no address.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for outside in ["http://", "https://", "//cdn", "@import", "style=", "onclick=", "innerHTML", "eval("] {
                assert!(!text.contains(outside), "{outside}");
            }
        }
    }
}
