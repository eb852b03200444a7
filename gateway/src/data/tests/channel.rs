//! From PASV to the stream: proof, policy, candidates, deadlines.
//!
//! Promised: the first finished and acceptable connection is taken, copies of its ClientHello change nothing, no byte goes out before.
//! Not here: which session a connection belongs to, see `ports`.

use std::io::{Read, Write};
use std::net::TcpStream as Plain;
use std::sync::Arc;
use std::time::Duration;

use ftps_proto::machine::io::DataRefusal;
use ftps_proto::proof::ReusePolicy;
use ftps_proto::verbs::Verb;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};

use super::kit::{Client, Kit, LIMIT, SECOND, TLS12, TLS13};
use crate::data::Next;
use crate::data::channel::Channel;
use crate::data::stream::DataStream;
use crate::data::waits::Landed;

async fn passive(channel: &mut Channel) -> u16 {
    let wait = channel.reserve().await.unwrap();
    channel.wait_on(wait)
}

async fn established(channel: &mut Channel) -> Result<DataStream, DataRefusal> {
    timeout(LIMIT, channel.established()).await.unwrap()
}

#[tokio::test]
async fn a_resumed_session_is_proof_in_both_versions() {
    let kit = Kit::new().await;
    for (version, server) in [(TLS13, &kit.tickets), (TLS12, &kit.tickets), (TLS12, &kit.ids)] {
        let client = kit.client(version, true);
        kit.seed(&client, server).await;
        let mut channel = kit.channel(ReusePolicy::Require, LIMIT, server);
        for _ in 0..2 {
            passive(&mut channel).await;
            let task = kit.run(&client, |mut client| client.read_all());
            channel.arrive(kit.arrival().await);
            let stream = established(&mut channel).await.unwrap();
            assert!(stream.proven() && channel.has_proven());
            stream.into_sender(SECOND).finish().await.unwrap();
            assert_eq!(task.await.unwrap().unwrap(), b"");
        }
    }
    assert_eq!(kit.events.count("resumed: Ticket"), 4);
    assert_eq!(kit.events.count("resumed: SessionId"), 2);
}

#[tokio::test]
async fn without_proof_policy_decides_and_no_byte_is_sent() {
    let kit = Kit::new().await;
    let stranger = kit.client(TLS13, false);
    let mut channel = kit.channel(ReusePolicy::Require, LIMIT, &kit.tickets);
    let began = Instant::now();
    // One that looks like the client is told soon; this one does not, so the wait goes on to its end.
    let mut short = kit.channel(ReusePolicy::Require, Duration::from_millis(300), &kit.tickets);
    passive(&mut short).await;
    let task = kit.run(&stranger, |mut client| client.read_all());
    short.arrive(kit.arrival().await);
    assert_eq!(established(&mut short).await.err(), Some(DataRefusal::Timeout));
    assert_eq!(task.await.unwrap().unwrap_or_default(), b"");
    assert_eq!(kit.events.count("DataRefused { refusal: SessionReuseRequired }"), 1);
    assert!(began.elapsed() < LIMIT);
    assert!(!short.has_proven());

    // `auto` takes it by lease, until the session has shown proof once.
    channel.log_out();
    let session = kit.client(TLS13, true);
    kit.seed(&session, &kit.tickets).await;
    let mut auto = kit.channel(ReusePolicy::Auto, Duration::from_millis(300), &kit.tickets);
    for (client, taken) in [(&stranger, Some(false)), (&session, Some(true)), (&stranger, None)] {
        passive(&mut auto).await;
        let task = kit.run(client, |mut client| client.read_all());
        auto.arrive(kit.arrival().await);
        let stream = established(&mut auto).await.ok();
        assert_eq!(stream.as_ref().map(DataStream::proven), taken);
        if let Some(stream) = stream {
            stream.into_sender(SECOND).finish().await.unwrap();
        }
        drop(task.await);
    }
}

#[tokio::test]
async fn the_handshake_does_not_wait_for_the_command_nor_the_command_for_it() {
    let kit = Kit::new().await;
    let client = kit.client(TLS13, true);
    let mut channel = kit.channel(ReusePolicy::Off, LIMIT, &kit.tickets);
    passive(&mut channel).await;
    let task = kit.run(&client, |mut client| {
        client.handshake().unwrap();
        client.read_all()
    });
    channel.arrive(kit.arrival().await);
    channel.alongside(std::pin::pin!(kit.events.wait_for("Handshake {"))).await;
    let stream = established(&mut channel).await.unwrap();
    stream.into_sender(SECOND).finish().await.unwrap();
    drop(task.await);

    passive(&mut channel).await;
    // Cancelled and asked again, as a session does when something else happens.
    assert!(timeout(Duration::from_millis(20), channel.established()).await.is_err());
    let task = kit.run(&client, |mut client| client.read_all());
    channel.arrive(kit.arrival().await);
    let stream = established(&mut channel).await.unwrap();
    stream.into_sender(SECOND).finish().await.unwrap();
    drop(task.await);
    assert_eq!(established(&mut channel).await.err(), Some(DataRefusal::NoPort), "each connection serves one transfer");
}

#[tokio::test]
async fn copies_of_a_client_hello_steal_and_block_nothing() {
    let kit = Kit::new().await;
    for version in [TLS13, TLS12] {
        let client = kit.client(version, true);
        kit.seed(&client, &kit.tickets).await;
        let mut channel = kit.channel(ReusePolicy::Require, LIMIT, &kit.tickets);
        passive(&mut channel).await;
        let copied = Client::hello(&client);
        let mut copies = Vec::new();
        for _ in 0..6 {
            let mut copy = Plain::connect(kit.address()).unwrap();
            copy.write_all(&copied).unwrap();
            channel.arrive(kit.arrival().await);
            copies.push(copy);
        }
        let task = kit.run(&client, |mut client| client.read_all());
        channel.arrive(kit.arrival().await);
        let stream = established(&mut channel).await.unwrap();
        assert!(stream.proven());
        let mut sender = stream.into_sender(SECOND);
        sender.send(b"for the client").await.unwrap();
        sender.finish().await.unwrap();
        assert_eq!(task.await.unwrap().unwrap(), b"for the client");
        for mut copy in copies {
            copy.set_read_timeout(Some(LIMIT)).unwrap();
            let mut seen = Vec::new();
            let _ = copy.read_to_end(&mut seen);
            assert!(!seen.windows(8).any(|part| part == b"for the "));
        }
    }
    assert_eq!(kit.events.count("too many connections"), 6);
    assert_eq!(kit.events.count("another connection finished first"), 6);
}

#[tokio::test]
async fn nobody_came() {
    let kit = Kit::new().await;
    let mut channel = kit.channel(ReusePolicy::Auto, Duration::from_millis(50), &kit.tickets);
    assert_eq!(established(&mut channel).await.err(), Some(DataRefusal::NoPort));
    let port = passive(&mut channel).await;
    assert_eq!(established(&mut channel).await.err(), Some(DataRefusal::Timeout));
    assert_eq!(kit.waits.unproven_owner("127.0.0.1".parse().unwrap(), Landed { port, at: Instant::now() }), None, "the port is given up");
    assert_eq!(kit.events.count("DataRefused { refusal: Timeout }"), 1);
}

#[tokio::test]
async fn a_client_whose_handshake_broke_is_told_soon() {
    let kit = Kit::new().await;
    let config = kit.client(TLS13, false);
    let hello = Client::hello(&config);
    let mut channel = kit.channel_like(fingerprint(&hello), ReusePolicy::Auto, &kit.tickets);
    passive(&mut channel).await;
    let mut broken = Plain::connect(kit.address()).unwrap();
    broken.write_all(&hello).unwrap();
    channel.arrive(kit.arrival().await);
    let began = Instant::now();
    drop(broken);
    assert_eq!(established(&mut channel).await.err(), Some(DataRefusal::Handshake));
    assert!(began.elapsed() < 20 * SECOND);
}

#[tokio::test]
async fn a_proof_frees_the_port_while_the_transfer_runs() {
    let kit = Kit::new().await;
    let (client, mut channel) = (kit.client(TLS13, true), kit.channel(ReusePolicy::Auto, LIMIT, &kit.tickets));
    let port = passive(&mut channel).await;
    let here = "127.0.0.1".parse().unwrap();
    assert!(kit.waits.unproven_owner(here, Landed { port, at: Instant::now() }).is_some());
    let task = kit.run(&client, |mut client| client.read_all());
    channel.arrive(kit.arrival().await);
    let stream = established(&mut channel).await.unwrap();
    assert!(kit.waits.unproven_owner(here, Landed { port, at: Instant::now() }).is_none());
    stream.into_sender(SECOND).finish().await.unwrap();
    drop(task.await);
}

/// A channel with `require` whose client has ended one upload, with its ticket kept back, and that client.
async fn after_a_proven_upload(kit: &Kit) -> (Channel, Arc<ClientConfig>) {
    let client = kit.client(TLS13, true);
    kit.seed(&client, &kit.tickets).await;
    let like = fingerprint(&Client::hello(&kit.client(TLS13, false)));
    let mut channel = kit.channel_like(like, ReusePolicy::Require, &kit.tickets);
    upload_a_byte(kit, &mut channel, &client).await;
    (channel, client)
}

async fn upload_a_byte(kit: &Kit, channel: &mut Channel, client: &Arc<ClientConfig>) {
    passive(channel).await;
    let task = kit.run(client, |mut client| {
        client.send(b"x").unwrap();
        client.close_notify();
        client
    });
    channel.arrive(kit.arrival().await);
    let mut receiver = established(channel).await.unwrap().into_receiver(SECOND);
    receiver.recv(&mut Vec::new()).await.unwrap();
    drop((receiver, task.await));
}

/// The client comes without a ticket. It is refused long before the data timeout, and its connection stays open until then.
async fn come_without_a_ticket(kit: &Kit, channel: &mut Channel) {
    passive(channel).await;
    let task = kit.run(&kit.client(TLS13, false), |mut client| client.read_all());
    let began = Instant::now();
    channel.arrive(kit.arrival().await);
    assert!(timeout(Duration::from_millis(300), channel.established()).await.is_err() && !task.is_finished());
    assert_eq!(established(channel).await.err(), Some(DataRefusal::SessionReuseRequired));
    assert!(began.elapsed() < 10 * SECOND, "told long before the data timeout");
    drop(task.await);
}

#[tokio::test]
async fn a_client_that_spends_its_tickets_is_noticed_and_then_runs_dry_with_each_upload() {
    let kit = Kit::new().await;
    let (mut channel, client) = after_a_proven_upload(&kit).await;
    assert!(kit.spenders.next(channel.client).is_none() && !channel.runs_dry(), "nothing is known of it yet");
    come_without_a_ticket(&kit, &mut channel).await;
    assert!(channel.is_spent());
    assert_eq!(kit.spenders.next(channel.client), Some(Next::Transfer));
    kit.seed(&client, &kit.tickets).await;
    upload_a_byte(&kit, &mut channel, &client).await;
    assert!(channel.runs_dry());
    channel.note_command(Verb::Cwd);
    assert!(channel.runs_dry());
    channel.note_command(Verb::Rnfr);
    assert!(!channel.runs_dry(), "it needs its session");
}

#[tokio::test]
async fn one_that_needs_its_session_after_an_upload_gets_its_ticket_early() {
    let kit = Kit::new().await;
    let (mut channel, client) = after_a_proven_upload(&kit).await;
    channel.note_command(Verb::Rnto);
    come_without_a_ticket(&kit, &mut channel).await;
    assert_eq!(kit.spenders.next(channel.client), Some(Next::Other));
    kit.seed(&client, &kit.tickets).await;
    passive(&mut channel).await;
    let task = kit.run(&client, |mut client| {
        client.handshake().unwrap();
        let mut byte = [0; 1];
        client.tcp.peek(&mut byte).unwrap()
    });
    channel.arrive(kit.arrival().await);
    let receiver = established(&mut channel).await.unwrap().into_receiver(SECOND);
    assert_eq!(task.await.unwrap(), 1, "a ticket before the end of the upload");
    assert!(!channel.runs_dry());
    drop(receiver);
}

#[tokio::test]
async fn active_mode_connects_to_the_client_only() {
    let kit = Kit::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let config = kit.client(TLS13, true);
    let task = tokio::task::spawn_blocking(move || Client::over(&config, listener.accept().unwrap().0).read_all());
    let mut channel = kit.channel(ReusePolicy::Auto, LIMIT, &kit.tickets);
    channel.connect_to(target);
    let mut sender = established(&mut channel).await.unwrap().into_sender(SECOND);
    sender.send(b"called").await.unwrap();
    sender.finish().await.unwrap();
    assert_eq!(task.await.unwrap().unwrap(), b"called");

    for refused in ["127.0.0.2:40000", "127.0.0.1:25", "[::1]:40000"] {
        channel.connect_to(refused.parse().unwrap());
        assert_eq!(established(&mut channel).await.err(), Some(DataRefusal::Connect), "{refused}");
    }
}

fn fingerprint(hello: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    match ftps_proto::hello::HelloReader::new().push(hello) {
        ftps_proto::hello::Progress::Done(hello) => Sha256::digest(&hello.fingerprint).into(),
        other => panic!("{other:?}"),
    }
}

/// An upload that kept its ticket back, over a channel with `auto`.
async fn after_an_upload(kit: &Kit) -> (Channel, Arc<ClientConfig>) {
    let client = kit.client(TLS13, true);
    kit.seed(&client, &kit.tickets).await;
    let like = fingerprint(&Client::hello(&kit.client(TLS13, false)));
    let mut channel = kit.channel_like(like, ReusePolicy::Auto, &kit.tickets);
    passive(&mut channel).await;
    let task = kit.run(&client, |mut client| {
        client.send(b"x").unwrap();
        client.close_notify();
        client
    });
    channel.arrive(kit.arrival().await);
    let mut receiver = established(&mut channel).await.unwrap().into_receiver(SECOND);
    receiver.recv(&mut Vec::new()).await.unwrap();
    drop((receiver, task.await));
    (channel, client)
}

#[tokio::test]
async fn who_was_given_no_ticket_may_go_on_without_one() {
    let kit = Kit::new().await;
    let (mut channel, _) = after_an_upload(&kit).await;
    for _ in 0..3 {
        passive(&mut channel).await;
        let task = kit.run(&kit.client(TLS13, false), |mut client| client.handshake());
        channel.arrive(kit.arrival().await);
        let stream = established(&mut channel).await.unwrap();
        assert!(!stream.proven());
        drop((stream, task.await));
    }
}

#[tokio::test]
async fn a_proof_wins_over_one_that_came_without_and_first() {
    let kit = Kit::new().await;
    let (mut channel, client) = after_an_upload(&kit).await;
    passive(&mut channel).await;
    let copy = kit.run(&kit.client(TLS13, false), |mut client| client.handshake());
    channel.arrive(kit.arrival().await);
    let _ = channel.alongside(copy).await;
    let rightful = kit.run(&client, |mut client| client.handshake());
    channel.arrive(kit.arrival().await);
    let stream = established(&mut channel).await.unwrap();
    assert!(stream.proven());
    drop((stream, rightful.await));
    // Once it has shown that it can use a ticket again, nothing comes in without.
    (0..2).for_each(|_| channel.past.note_proof(Some(1)));
    passive(&mut channel).await;
    let task = kit.run(&kit.client(TLS13, false), |mut client| client.read_all());
    channel.arrive(kit.arrival().await);
    assert_eq!(established(&mut channel).await.err(), Some(DataRefusal::SessionReuseRequired));
    drop(task.await);
}
