//! Data connections: "resumed" under the session's configuration is the proof, and nothing else gives one.
//! Strangers, siblings, rotation and age: each mode of resumption, with the client's view beside the server's.

use std::time::Duration;

use rustls::HandshakeKind::{Full, Resumed};

use super::kit::*;
use crate::tls::*;

#[tokio::test]
async fn the_own_client_is_proven_and_a_stranger_is_not() {
    for mode in MODES {
        let cluster = Cluster::new();
        let node = cluster.node();
        let (alice, mallory) = (Client::new(mode), Client::new(mode));
        let (hers, his) = (connect(&node, &alice).await, connect(&node, &mallory).await);
        for _ in 0..3 {
            assert_eq!(data_handshake(node.for_data(&hers.keys, &[]), &alice), Ok(Resumed), "{mode:?}");
        }
        mallory.memory.freeze();
        assert_eq!(data_handshake(node.for_data(&hers.keys, &[]), &mallory), Ok(Full), "{mode:?}: a session of another client");
        assert_eq!(data_handshake(node.for_data(&hers.keys, &[]), &Client::new(mode)), Ok(Full), "{mode:?}: no session at all");
        assert_eq!(data_handshake(node.for_data(&hers.keys, std::slice::from_ref(&his.keys)), &mallory), Ok(Resumed), "{mode:?}: a sibling");
    }
}

#[tokio::test]
async fn who_proved_nothing_gets_nothing_that_proves_something_later() {
    for mode in MODES {
        let cluster = Cluster::new();
        let node = cluster.node();
        let victim = Client::new(mode);
        let session = connect(&node, &victim).await;
        let thief = Client::new(mode);
        assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &thief), Ok(Full), "{mode:?}");
        assert_eq!(thief.memory.learned(), 0, "{mode:?}");
        assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &thief), Ok(Full), "{mode:?}: what it got is no proof");
        // A ticket that opens but is not used, because the server name is another one: tickets are visible to who listens.
        let thief = Client { sni: "other.example", memory: victim.memory.share(), ..Client::new(mode) };
        let before = thief.memory.learned();
        assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &thief), Ok(Full), "{mode:?}");
        assert_eq!(thief.memory.learned(), before, "{mode:?}");
        assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &thief), Ok(Full), "{mode:?}");
    }
}

/// rclone opens one control connection more while another one transfers; they share their tickets.
#[tokio::test]
async fn a_session_where_nobody_has_logged_in_proves_its_family() {
    for mode in MODES {
        let cluster = Cluster::new();
        let node = cluster.node();
        let (client, mallory) = (Client::new(mode), Client::new(mode));
        let first = connect(&node, &client).await;
        first.keys.claim();
        let second = connect(&node, &client).await;
        assert!(second.facts.previous.is_some(), "{mode:?}");
        assert_eq!(data_handshake(node.for_data(&first.keys, &[]), &client), Ok(Resumed), "{mode:?}: before the login");
        let stranger = connect(&node, &mallory).await;
        assert_eq!(data_handshake(node.for_data(&first.keys, &[]), &mallory), Ok(Full), "{mode:?}: a stranger before the login");
        drop(stranger);
        // Now it is another user's: the list of the client's sessions decides.
        let third = connect(&node, &client).await;
        third.keys.claim();
        std::thread::sleep(Duration::from_millis(1100));
        if mode == Mode::Tls13 {
            assert_eq!(data_handshake(node.for_data(&first.keys, &[]), &client), Ok(Full), "{mode:?}: after the login");
        }
    }
}

#[tokio::test]
async fn a_tls_12_client_keeps_its_ticket_and_a_tls_13_client_gets_another() {
    for (mode, learns) in [(Mode::Ticket12, 0), (Mode::Tls13, 1)] {
        let cluster = Cluster::new();
        let node = cluster.node();
        let client = Client::new(mode);
        let session = connect(&node, &client).await;
        for _ in 0..3 {
            let before = client.memory.learned();
            assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &client), Ok(Resumed), "{mode:?}");
            assert_eq!(client.memory.learned() - before, learns, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_resumed_is_proven_by_the_old_session_and_by_the_new_one() {
    for mode in MODES {
        let cluster = Cluster::new();
        let (one, other) = (cluster.node(), cluster.node());
        let client = Client::new(mode);
        drop(connect(&one, &client).await);
        let old = Client { memory: client.memory.share(), ..client.clone() };
        old.memory.freeze();
        let session = connect(&other, &client).await;
        assert!(session.facts.previous.is_some(), "{mode:?}");
        assert_eq!(data_handshake(other.for_data(&session.keys, &[]), &old), Ok(Resumed), "{mode:?}");
        assert_eq!(data_handshake(other.for_data(&session.keys, &[]), &client), Ok(Resumed), "{mode:?}");
        let stranger = connect(&other, &Client::new(mode)).await;
        assert_eq!(data_handshake(other.for_data(&stranger.keys, &[]), &old), Ok(Full), "{mode:?}");
    }
}

#[tokio::test]
async fn neither_rotation_nor_age_breaks_a_living_session() {
    for mode in MODES {
        let cluster = Cluster::new();
        let node = cluster.node();
        let client = Client::new(mode);
        drop(connect(&node, &client).await);
        let session = connect(&node, &client).await;
        let steady = Client { memory: client.memory.share(), ..client.clone() };
        steady.memory.freeze();
        for _ in 0..60 {
            cluster.pass(Duration::from_secs(3600));
            node.tend().await.unwrap();
        }
        node.rotate_tickets().await.unwrap();
        for _ in 0..2 {
            assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &steady), Ok(Resumed), "{mode:?}: the control connection's session");
            assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &client), Ok(Resumed), "{mode:?}: the newest session");
        }
        drop(session);
        let fresh = connect(&node, &Client::new(mode)).await;
        assert_eq!(data_handshake(node.for_data(&fresh.keys, &[]), &steady), Ok(Full), "{mode:?}");
    }
}

#[tokio::test]
async fn a_control_connection_gives_two_tickets_and_a_data_connection_one() {
    let node = Tls::new(&config(), Incarnation::now(), vault()).unwrap();
    node.tend().await.unwrap();
    let client = Client::new(Mode::Tls13);
    let session = connect(&node, &client).await;
    assert_eq!(client.memory.learned(), 2);
    assert_eq!(data_handshake(node.for_data(&session.keys, &[]), &client), Ok(Resumed));
    assert_eq!(client.memory.learned(), 3);
}

#[tokio::test]
async fn tickets_that_were_cut_altered_or_made_up_open_nothing() {
    let node = Cluster::new().node();
    let client = Client::new(Mode::Tls13);
    let session = connect(&node, &client).await;
    let ticketer = node.for_data(&session.keys, &[]).ticketer.clone();
    let good = ticketer.encrypt(&[9; 100]).unwrap();
    assert_eq!(ticketer.decrypt(&good), Some(vec![9; 100]));
    for place in 0..good.len() {
        assert_eq!(ticketer.decrypt(&good[..place]), None, "cut at {place}");
        let mut bad = good.clone();
        bad[place] ^= 0x80;
        assert_eq!(ticketer.decrypt(&bad), None, "byte {place}");
    }
    assert_eq!(ticketer.decrypt(&[good.clone(), vec![0]].concat()), None);
    assert_eq!(ticketer.decrypt(&vec![1; 60_000]), None);
    assert_eq!(ticketer.encrypt(&vec![0; 60_000]), None);
    assert_eq!(ticketer.lifetime(), 7 * 86_400);
}

#[tokio::test]
async fn bytes_behind_the_hello_come_back_and_half_a_hello_is_an_error() {
    let node = Cluster::new().node();
    let session = connect(&node, &Client::new(Mode::Tls13)).await;
    let config = node.for_data(&session.keys, &[]);
    let (_, hello) = hello_bytes(&Client::new(Mode::Tls13));
    let (_, rest) = data_connection(config.clone(), &[&hello[..], &[20, 3, 3]].concat()).unwrap();
    assert_eq!(rest, [20, 3, 3]);
    for cut in 0..hello.len() {
        assert!(data_connection(config.clone(), &hello[..cut]).is_err());
    }
    let client = Client { alpn: vec![b"http/1.1".to_vec()], ..Client::new(Mode::Tls13) };
    let (error, alert) = data_connection(config, &hello_bytes(&client).1).unwrap_err();
    assert_eq!(failure(&error), crate::observe::event::HandshakeFailure::Alpn);
    assert!(!alert.is_empty());
}
