//! Control connections: resumption on any node, lifetimes, families, what is refused and how it is named.
//! Every case runs for TLS 1.2 by ID, TLS 1.2 by ticket and TLS 1.3.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kit::*;
use crate::observe::event::{HandshakeFailure, Resumed};
use crate::tls::*;

fn by(mode: Mode) -> Resumed {
    if mode == Mode::Id12 { Resumed::SessionId } else { Resumed::Ticket }
}

#[tokio::test]
async fn a_session_resumes_on_another_node_as_often_as_it_likes() {
    for mode in MODES {
        let cluster = Cluster::new();
        let (one, other) = (cluster.node(), cluster.node());
        let client = Client::new(mode);
        let first = connect(&one, &client).await;
        assert_eq!((first.facts.resumed, first.facts.previous), (Resumed::Full, None), "{mode:?}");
        client.memory.freeze();
        for _ in 0..3 {
            let again = connect(&other, &client).await;
            assert_eq!((again.facts.resumed, again.facts.previous), (by(mode), Some(first.keys.id())), "{mode:?}");
            assert_eq!((again.facts.family, again.keys.family()), (first.facts.family, first.facts.family), "{mode:?}");
            assert_eq!(again.fingerprint, first.fingerprint);
        }
        let stranger = connect(&one, &Client::new(mode)).await;
        assert_ne!(stranger.facts.family, first.facts.family);
    }
}

#[tokio::test]
async fn a_family_goes_on_through_tickets_that_a_resumption_issued() {
    let cluster = Cluster::new();
    let client = Client::new(Mode::Tls13);
    let first = connect(&cluster.node(), &client).await;
    let second = connect(&cluster.node(), &client).await;
    let third = connect(&cluster.node(), &client).await;
    assert_eq!(third.facts.previous, Some(second.keys.id()));
    assert_eq!(third.facts.family, first.facts.family);
}

#[tokio::test]
async fn a_session_older_than_its_lifetime_does_not_resume_a_control_connection() {
    for mode in MODES {
        let cluster = Cluster::new();
        let node = cluster.node();
        let client = Client::new(mode);
        connect(&node, &client).await;
        client.memory.freeze();
        cluster.pass(Duration::from_secs(1800));
        assert_eq!(connect(&node, &client).await.facts.resumed, by(mode), "{mode:?}");
        cluster.pass(Duration::from_millis(1));
        assert_eq!(connect(&node, &client).await.facts.resumed, Resumed::Full, "{mode:?}");
    }
}

#[tokio::test]
async fn another_client_certificate_policy_or_other_keys_are_a_full_handshake() {
    for mode in MODES {
        let cluster = Cluster::new();
        let client = Client::new(mode);
        connect(&cluster.node(), &client).await;
        client.memory.freeze();
        let stricter = cluster.node_with(&config(), "required");
        for node in [stricter, Cluster::new().node()] {
            let full = connect(&node, &client).await;
            assert_eq!((full.facts.resumed, full.facts.family), (Resumed::Full, Family(full.keys.id().0)), "{mode:?}");
        }
        assert_eq!(connect(&cluster.node(), &client).await.facts.resumed, by(mode), "{mode:?}");
    }
}

#[tokio::test]
async fn a_ticket_under_another_server_name_opens_but_joins_no_family() {
    for mode in MODES {
        let cluster = Cluster::new();
        let node = cluster.node();
        let client = Client::new(mode);
        let first = connect(&node, &client).await;
        let elsewhere = Client { sni: "other.example", memory: client.memory.share(), ..Client::new(mode) };
        let full = connect(&node, &elsewhere).await;
        assert_eq!((full.facts.resumed, full.facts.previous), (Resumed::Full, None), "{mode:?}");
        // Its new ticket must not carry the family either.
        if let Route::Owner { family, session, .. } = route(&node, &elsewhere) {
            assert_eq!((session, family), (full.keys.id(), Family(full.keys.id().0)), "{mode:?}");
            assert_ne!(family, first.facts.family);
        } else {
            panic!("{mode:?}: no ticket");
        }
    }
}

#[tokio::test]
async fn an_id_is_kept_only_for_clients_that_take_no_ticket() {
    let cluster = Cluster::new();
    let node = cluster.node();
    connect(&node, &Client::new(Mode::Ticket12)).await;
    connect(&node, &Client::new(Mode::Tls13)).await;
    assert_eq!(node.cached_sessions(), 0);
    connect(&node, &Client::new(Mode::Id12)).await;
    assert_eq!(node.cached_sessions(), 1);
}

#[tokio::test]
async fn a_cleared_cache_resumes_nothing_anywhere_and_fills_again() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node(), cluster.node());
    let client = Client::new(Mode::Id12);
    connect(&node, &client).await;
    assert_eq!(connect(&other, &client).await.facts.resumed, Resumed::SessionId);
    assert_eq!((node.session_statistics().await.0.stores, other.session_statistics().await.0.hits), (1, 1));
    assert_eq!((node.resumed_elsewhere(), other.resumed_elsewhere()), (0, 1));
    node.clear_sessions().await;
    other.0.vault.refresh().await;
    assert_eq!(connect(&other, &client).await.facts.resumed, Resumed::Full);
    assert_eq!(connect(&node, &client).await.facts.resumed, Resumed::SessionId, "the new one");
}

#[tokio::test]
async fn a_session_that_another_node_began_is_counted_where_it_is_resumed() {
    for mode in MODES {
        let cluster = Cluster::new();
        let (node, other) = (cluster.node(), cluster.node());
        let client = Client::new(mode);
        connect(&node, &client).await;
        connect(&node, &client).await;
        assert_eq!((node.resumed_elsewhere(), other.resumed_elsewhere()), (0, 0), "{mode:?}");
        connect(&other, &client).await;
        assert_eq!((node.resumed_elsewhere(), other.resumed_elsewhere()), (0, 1), "{mode:?}");
        assert_eq!(node.sealing(), other.sealing(), "{mode:?}: one key seals");
        assert!(node.sealing().is_some());
    }
}

#[tokio::test]
async fn the_owner_of_a_hello_is_found_while_it_lives() {
    for mode in MODES {
        let cluster = Cluster::new();
        let (node, other) = (cluster.node(), cluster.node());
        let client = Client::new(mode);
        assert_eq!(route(&node, &client), Route::Unknown);
        let session = connect(&node, &client).await;
        let (id, family) = (session.keys.id(), session.keys.family());
        let owner = Route::Owner { incarnation: node.0.incarnation, session: id, family };
        assert_eq!(route(&node, &client), owner, "{mode:?}");
        let unknown = if mode == Mode::Id12 { Route::Unknown } else { owner };
        assert_eq!(route(&other, &client), unknown, "{mode:?}: an ID says nothing where its session never was; the peers know");
        let elsewhere = if mode == Mode::Id12 { Route::Elsewhere { session: id, family } } else { owner };
        assert!(node.living(id).is_some());
        drop(session);
        assert!(node.living(id).is_none());
        assert_eq!(route(&node, &client), elsewhere, "{mode:?}: a ticket names a dead session, too");
    }
}

#[tokio::test]
async fn alpn_is_ftp_or_nothing() {
    let node = Cluster::new().node();
    for mode in [Mode::Ticket12, Mode::Tls13] {
        let asking = |protocol: &str| Client { alpn: vec![protocol.as_bytes().to_vec()], ..Client::new(mode) };
        assert_eq!(connect(&node, &asking("ftp")).await.stream.get_ref().1.alpn_protocol(), Some(&b"ftp"[..]));
        let refused = try_connect(&node, &asking("http/1.1")).await.err().unwrap();
        assert_eq!(refused.failure, HandshakeFailure::Alpn);
    }
}

#[tokio::test]
async fn versions_and_suites_are_those_of_the_configuration() {
    let cluster = Cluster::new();
    let modern = cluster.node_with(&Config { min_version: MinVersion::Tls13, ..config() }, "off");
    assert_eq!(try_connect(&modern, &Client::new(Mode::Id12)).await.err().unwrap().failure, HandshakeFailure::NoCommonParameters);
    connect(&modern, &Client::new(Mode::Tls13)).await;

    let suites = vec!["TLS_CHACHA20_POLY1305_SHA256".to_owned(), "tls_ecdhe_ecdsa_with_aes_256_gcm_sha384".to_owned()];
    let picky = cluster.node_with(&Config { cipher_suites: suites, ..config() }, "off");
    let session = connect(&picky, &Client::new(Mode::Tls13)).await;
    assert_eq!(session.stream.get_ref().1.negotiated_cipher_suite().unwrap().suite(), rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);

    let only12 = Config { min_version: MinVersion::Tls13, cipher_suites: vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()], ..config() };
    assert!(matches!(Tls::new(&only12, Incarnation::now(), vault()), Err(TlsError::NoCipherSuite)));
    let unknown = Config { cipher_suites: vec!["TLS_RSA_WITH_RC4_128_MD5".to_owned()], ..config() };
    let error = Tls::new(&unknown, Incarnation::now(), vault()).err().unwrap().to_string();
    assert!(error.contains("RC4") && error.contains("TLS_AES_128_GCM_SHA256"), "{error}");
}

#[tokio::test]
async fn a_client_that_refuses_the_certificate_is_named_so() {
    for mode in [Mode::Ticket12, Mode::Tls13] {
        let client = Client { trusting: false, ..Client::new(mode) };
        let error = try_connect(&Cluster::new().node(), &client).await.err().unwrap();
        assert_eq!(error.failure, HandshakeFailure::CertificateRefused, "{mode:?}: {error}");
    }
}

async fn offer(bytes: &[u8], close: bool, wait: Duration) -> (HandshakeFailure, Vec<u8>) {
    let node = Cluster::new().node();
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(bytes).await.unwrap();
    if close {
        far.shutdown().await.unwrap();
    }
    let keys = node.session(SessionId::now());
    let error = accept(&node, &keys, near, tokio::time::Instant::now() + wait).await.err().unwrap();
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    (error.failure, answer)
}

#[tokio::test]
async fn what_is_no_handshake_ends_at_once_and_is_named() {
    let long = Duration::from_secs(20);
    assert_eq!(offer(b"U", false, long).await, (HandshakeFailure::NotTls, vec![]));
    assert_eq!(offer(b"GET / HTTP/1.1\r\n", false, long).await, (HandshakeFailure::NotTls, vec![]));
    assert_eq!(offer(b"", true, long).await, (HandshakeFailure::Closed, vec![]));
    let (_, hello) = hello_bytes(&Client::new(Mode::Tls13));
    assert_eq!(offer(&hello[..hello.len() - 1], true, long).await, (HandshakeFailure::Closed, vec![]));
    assert_eq!(offer(&hello[..hello.len() - 1], false, Duration::from_millis(50)).await, (HandshakeFailure::Timeout, vec![]));
    // A hello of another kind, and one that is too long for anyone.
    let (failure, alert) = offer(&[22, 3, 1, 0, 4, 2, 0, 0, 0], false, long).await;
    assert_eq!((failure, &alert[..]), (HandshakeFailure::Other, &[21, 3, 3, 0, 2, 2, 50][..]));
    let (failure, alert) = offer(&[22, 3, 1, 0, 5, 1, 0xff, 0xff, 0xff, 0], false, long).await;
    assert_eq!((failure, alert.len()), (HandshakeFailure::Other, 7));
}

#[tokio::test]
async fn a_hello_in_single_bytes_is_a_hello() {
    let node = Cluster::new().node();
    let (near, mut middle) = tokio::io::duplex(64 * 1024);
    let (mut other_middle, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = tokio::io::split(&mut other_middle);
        let (mut from_server, mut to_server) = tokio::io::split(&mut middle);
        let drip = async {
            while let Ok(byte) = from_client.read_u8().await {
                to_server.write_u8(byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::join!(drip, tokio::io::copy(&mut from_server, &mut to_client));
    });
    let client = Client::new(Mode::Tls13);
    let (connector, name) = (tokio_rustls::TlsConnector::from(client.config()), client.name());
    let other_end = tokio::spawn(async move {
        let mut stream = connector.connect(name, far).await.unwrap();
        stream.write_all(b"USER x\r\n").await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    let mut stream = accept(&node, &node.session(SessionId::now()), near, soon()).await.unwrap().stream;
    let mut line = [0; 8];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"USER x\r\n");
    drop(other_end.await.unwrap());
}
