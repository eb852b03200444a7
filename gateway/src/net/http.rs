//! A small HTTP/1.1 client for what a node asks of others: a probe, later a responder or another node's API.
//!
//! Gets: an `http://` URL and a deadline. Gives: the status and the body.
//! Never: follows a redirect, keeps a connection, reads more than 1 MiB, or waits beyond its deadline.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a URL this client can ask.
    #[error("{0:?} is not a URL of the form http://HOST[:PORT]/PATH")]
    Url(String),
    /// Nobody is there, or the name is unknown.
    #[error("cannot connect to {authority}: {source}; check that it runs and listens there")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What came back is not HTTP, or stopped in the middle.
    #[error("no HTTP answer: {0}")]
    Protocol(#[from] hyper::Error),
    /// The body is longer than 1 MiB, or broken.
    #[error("the answer is longer than 1 MiB or breaks off")]
    Body,
    /// The deadline passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Asks for a URL. `timeout` covers everything: name, connection, answer, body.
///
/// # Errors
/// There is no whole answer. A status that is not 200 is an answer.
pub async fn get(url: &str, timeout: Duration) -> Result<(u16, Vec<u8>), Error> {
    tokio::time::timeout(timeout, ask(url)).await.map_err(|_| Error::Timeout(timeout))?
}

async fn ask(url: &str) -> Result<(u16, Vec<u8>), Error> {
    let wrong = || Error::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|authority| uri.scheme_str() == Some("http") && !authority.as_str().contains('@')).ok_or_else(wrong)?;
    // An IPv6 address stands in brackets in a URL, but not for the resolver.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream =
        TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(|source| Error::Connect { authority: authority.to_string(), source })?;

    let (mut sender, connection) = http1::Builder::new().max_buf_size(HEADER).handshake(TokioIo::new(stream)).await?;
    // Ends with this function, whichever way it ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);

    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("ftps-gateway/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| wrong())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => Error::Protocol(*error),
        Err(error) => {
            debug_assert!(error.is::<LengthLimitError>(), "a limited body fails by its length or its source");
            Error::Body
        }
    })?;
    Ok((status, body.to_bytes().to_vec()))
}

/// Bytes of an answer's head.
const HEADER: usize = 16 * 1024;
/// Bytes of a body.
const LONGEST: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A server that says `answer` to one request and gives what it was asked.
    async fn server(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let _ = stream.write_all(&answer).await;
            String::from_utf8(request).unwrap()
        });
        (url, asked)
    }

    #[tokio::test]
    async fn gives_status_and_body_and_asks_politely() {
        let (url, asked) = server(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\ndraining".to_vec()).await;
        assert_eq!(get(&format!("{url}/readyz?verbose"), LONG).await.unwrap(), (503, b"draining".to_vec()));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("GET /readyz?verbose HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {}\r\n", &url[7..])) && asked.contains("connection: close\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_body_without_length_ends_with_the_connection() {
        let (url, _) = server(b"HTTP/1.1 200 OK\r\n\r\nok".to_vec()).await;
        assert_eq!(get(&url, LONG).await.unwrap(), (200, b"ok".to_vec()));
    }

    #[tokio::test]
    async fn too_much_is_refused() {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(LONGEST + 100, b'x');
        let (url, _) = server(answer).await;
        assert!(matches!(get(&url, LONG).await, Err(Error::Body)));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error() {
        let (url, _) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()).await;
        assert!(matches!(get(&url, LONG).await, Err(Error::Protocol(_))));
        let (url, _) = server(b"220 this is FTP\r\n".to_vec()).await;
        assert!(matches!(get(&url, LONG).await, Err(Error::Protocol(_))));
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert!(matches!(get(&url, Duration::from_millis(50)).await, Err(Error::Timeout(_))));
    }

    #[tokio::test]
    async fn nobody_there_and_wrong_urls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert!(matches!(get(&url, LONG).await, Err(Error::Connect { .. })));
        for url in ["https://127.0.0.1/", "/livez", "127.0.0.1:80", "http://user@127.0.0.1/", "http://", "ftp://x/"] {
            assert!(matches!(get(url, LONG).await, Err(Error::Url(_))), "{url}");
        }
    }
}
