//! A small HTTP/1.1 client for what is asked of others: a probe, the admin API, an OCSP responder.
//!
//! Gets: an `http://` or `https://` URL, a token, a body, and a deadline. Gives: the status and the body.
//! Never: follows a redirect, keeps a connection, reads more than 1 MiB (or what the question says), or waits beyond its deadline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

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
    /// The body is too long, or broken.
    #[error("the answer is too long or breaks off")]
    Body,
    /// The deadline passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// A question.
#[derive(Clone, Default)]
pub struct Ask<'a> {
    /// Its method; empty: GET.
    pub method: &'a str,
    /// Whom and what.
    pub url: &'a str,
    /// A bearer token.
    pub token: Option<&'a str>,
    /// What is sent.
    pub body: Option<Body>,
    /// Bytes of the answer's body that are read; `None`: 1 MiB.
    pub longest: Option<usize>,
    /// Whom to trust, for `https://`.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A body and its media type.
#[derive(Clone, Debug)]
pub struct Body {
    /// As in `application/json`.
    pub media: &'static str,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Body {
    /// JSON.
    pub fn json(text: String) -> Self {
        Self { media: "application/json", bytes: text.into_bytes() }
    }
}

/// Asks for a URL. `timeout` covers everything: name, connection, answer, body.
///
/// # Errors
/// There is no whole answer. A status that is not 200 is an answer.
pub async fn get(url: &str, timeout: Duration) -> Result<(u16, Vec<u8>), Error> {
    send(&Ask { url, ..Ask::default() }, timeout).await
}

/// The same with a method, a token, a body, TLS.
///
/// # Errors
/// There is no whole answer.
pub async fn send(ask: &Ask<'_>, timeout: Duration) -> Result<(u16, Vec<u8>), Error> {
    let whole = async {
        let (answer, _driver) = open(ask).await?;
        let status = answer.status().as_u16();
        Ok((status, body(answer.into_body(), ask.longest.unwrap_or(LONGEST)).await?))
    };
    tokio::time::timeout(timeout, whole).await.map_err(|_| Error::Timeout(timeout))?
}

/// Reads an answer that goes on and on; `timeout` covers its beginning. Of any other status than 200 the body is given instead.
///
/// # Errors
/// There is no answer, or it breaks off.
pub async fn follow(ask: &Ask<'_>, timeout: Duration, mut take: impl FnMut(&[u8])) -> Result<(u16, Vec<u8>), Error> {
    let opened = tokio::time::timeout(timeout, open(ask)).await;
    let (answer, _driver) = opened.map_err(|_| Error::Timeout(timeout))??;
    let status = answer.status().as_u16();
    let mut body_of = answer.into_body();
    if status != 200 {
        return Ok((status, body(body_of, LONGEST).await?));
    }
    while let Some(frame) = body_of.frame().await {
        if let Some(bytes) = frame?.data_ref() {
            take(bytes);
        }
    }
    Ok((status, Vec::new()))
}

/// Trusts the authorities of a PEM file, else those of this machine; shows a certificate (its file and that of its key) to who asks for one.
///
/// # Errors
/// What is wrong with a file.
pub fn trust(file: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let text = std::fs::read(file).map_err(|error| format!("{}: cannot be read ({error})", file.display()))?;
            if roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten()).0 == 0 {
                return Err(format!("{}: no certificate in it; name a PEM file of authorities", file.display()));
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let Some((cert, key)) = own else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let wrong = |path: &Path, error: &dyn std::fmt::Display| format!("{}: cannot be used ({error}); name a PEM file", path.display());
    let read = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| wrong(cert, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    builder.with_client_auth_cert(chain, secret).map(Arc::new).map_err(|error| wrong(cert, &error))
}

/// Whether this client can ask a URL without TLS: `http://HOST[:PORT]/…`, without a user.
pub fn is_plain(url: &str) -> bool {
    parse(url, false).is_some()
}

/// A URL, and whether it wants TLS.
fn parse(url: &str, tls: bool) -> Option<(Uri, bool)> {
    let uri: Uri = url.parse().ok()?;
    let secure = uri.scheme_str() == Some("https") && tls;
    let good = uri.authority().is_some_and(|authority| (secure || uri.scheme_str() == Some("http")) && !authority.as_str().contains('@'));
    good.then_some((uri, secure))
}

/// Sends the question; the connection ends with the second value.
async fn open(ask: &Ask<'_>) -> Result<(Response<Incoming>, JoinSet<hyper::Result<()>>), Error> {
    let wrong = || Error::Url(ask.url.to_owned());
    let (uri, secure) = parse(ask.url, ask.tls.is_some()).ok_or_else(wrong)?;
    let authority = uri.authority().ok_or_else(wrong)?;
    // An IPv6 address stands in brackets in a URL, but not for the resolver.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let refused = |source| Error::Connect { authority: authority.to_string(), source };
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(if secure { 443 } else { 80 }))).await.map_err(refused)?;
    let mut driver = JoinSet::new();
    let mut sender = match ask.tls.clone().filter(|_| secure) {
        None => begin(stream, &mut driver).await?,
        Some(config) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
            begin(TlsConnector::from(config).connect(name, stream).await.map_err(refused)?, &mut driver).await?
        }
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(if ask.method.is_empty() { "GET" } else { ask.method })
        .uri(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("ftps-gateway/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close");
    if let Some(token) = ask.token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(body) = &ask.body {
        request = request.header(CONTENT_TYPE, body.media);
    }
    let body = Full::new(Bytes::from(ask.body.as_ref().map(|body| body.bytes.clone()).unwrap_or_default()));
    let answer = sender.send_request(request.body(body).map_err(|_| wrong())?).await?;
    Ok((answer, driver))
}

/// Speaks HTTP on a stream; what drives it ends with `driver`, whichever way that ends.
async fn begin<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    driver: &mut JoinSet<hyper::Result<()>>,
) -> Result<http1::SendRequest<Full<Bytes>>, Error> {
    let (sender, connection) = http1::Builder::new().max_buf_size(HEADER).handshake(TokioIo::new(stream)).await?;
    driver.spawn(connection);
    Ok(sender)
}

async fn body(body: Incoming, longest: usize) -> Result<Vec<u8>, Error> {
    let whole = Limited::new(body, longest).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => Error::Protocol(*error),
        Err(error) => {
            debug_assert!(error.is::<LengthLimitError>(), "a limited body fails by its length or its source");
            Error::Body
        }
    })?;
    Ok(whole.to_bytes().to_vec())
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
        let (url, _) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()).await;
        assert!(matches!(send(&Ask { url: &url, longest: Some(4), ..Ask::default() }, LONG).await, Err(Error::Body)));
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
            assert!(!is_plain(url), "{url}");
        }
    }
}
