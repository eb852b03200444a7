//! The relay over real sockets: what goes in comes out, and every kind of end arrives as what it is.
//!
//! Promised: bytes, back-pressure, half-close, reset; a relay that is dropped ends nobody with FIN; pipes are back when their bytes are gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

struct Ends {
    client: TcpStream,
    owner: TcpStream,
    relay: JoinHandle<Result<(), Broken>>,
}

/// A client, an owner, and a relay between them.
async fn between(pipes: &Pipes, idle: Duration) -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = async || {
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    };
    let ((client, left), (owner, right)) = (pair().await, pair().await);
    let pipes = pipes.clone();
    let relay = tokio::spawn(async move { relay(left, right, &pipes, &Carried::default(), idle).await });
    Ends { client, owner, relay }
}

async fn ended(relay: JoinHandle<Result<(), Broken>>) -> Result<(), Broken> {
    timeout(LIMIT, relay).await.expect("in time").unwrap()
}

fn lent(pipes: &Pipes, most: usize) -> usize {
    most - pipes.0.places.available_permits()
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_at_once_with_pipes_and_without() {
    for most in [8, 0] {
        let pipes = Pipes::new(most);
        let Ends { client, owner, relay } = between(&pipes, LIMIT).await;
        let sides = [client, owner].map(|stream| {
            let sent = noise(20_000_003);
            let hash = Sha256::digest(&sent);
            let side = tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                let writing = tokio::spawn(async move {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                });
                let mut came = Vec::new();
                read.read_to_end(&mut came).await.unwrap();
                writing.await.unwrap();
                Sha256::digest(&came)
            });
            (hash, side)
        });
        let [(from_client, client), (from_owner, owner)] = sides;
        assert_eq!(timeout(LIMIT, client).await.unwrap().unwrap(), from_owner);
        assert_eq!(timeout(LIMIT, owner).await.unwrap().unwrap(), from_client);
        assert_eq!(ended(relay).await, Ok(()));
        assert_eq!(lent(&pipes, most), 0);
    }
}

#[tokio::test]
async fn a_half_close_passes_and_the_other_way_goes_on() {
    let Ends { mut client, mut owner, relay } = between(&Pipes::default(), LIMIT).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut came = String::new();
    timeout(LIMIT, owner.read_to_string(&mut came)).await.unwrap().unwrap();
    assert_eq!(came, "question");
    owner.write_all(b"answer").await.unwrap();
    drop(owner);
    came.clear();
    timeout(LIMIT, client.read_to_string(&mut came)).await.unwrap().unwrap();
    assert_eq!((came.as_str(), ended(relay).await), ("answer", Ok(())));
}

#[tokio::test]
async fn a_reset_passes_both_ways() {
    for client_breaks in [true, false] {
        let Ends { client, owner, relay } = between(&Pipes::default(), LIMIT).await;
        let (gone, mut left) = if client_breaks { (client, owner) } else { (owner, client) };
        SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        drop(gone);
        let error = timeout(LIMIT, left.read(&mut [0])).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(ended(relay).await, Err(if client_breaks { Broken::Client } else { Broken::Owner }));
    }
}

#[tokio::test]
async fn a_relay_that_is_dropped_resets_both() {
    let Ends { mut client, mut owner, relay } = between(&Pipes::default(), LIMIT).await;
    client.write_all(b"half of an upload").await.unwrap();
    timeout(LIMIT, owner.read_exact(&mut [0; 17])).await.unwrap().unwrap();
    relay.abort();
    for side in [&mut client, &mut owner] {
        let error = timeout(LIMIT, side.read(&mut [0])).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "a FIN would make a whole file of half a one");
    }
}

#[tokio::test]
async fn what_the_client_says_after_the_owner_has_closed_takes_nothing_from_it() {
    let Ends { mut client, mut owner, relay } = between(&Pipes::default(), LIMIT).await;
    let sent = noise(300_000);
    let length = sent.len();
    tokio::spawn(async move { owner.write_all(&sent).await.unwrap() });
    let mut came = vec![0; length];
    timeout(LIMIT, client.read_exact(&mut came[..1000])).await.unwrap().unwrap();
    // The owner is closed when this arrives: its kernel answers with a reset.
    for _ in 0..20 {
        client.write_all(b"close_notify").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    timeout(LIMIT, client.read_exact(&mut came[1000..])).await.unwrap().unwrap();
    assert_eq!(timeout(LIMIT, client.read(&mut [0])).await.unwrap().unwrap(), 0);
    drop(client);
    assert_eq!(ended(relay).await, Ok(()));
}

#[tokio::test]
async fn a_slow_reader_holds_a_pipe_and_the_writer() {
    let pipes = Pipes::new(1);
    let mut stuck = Vec::new();
    for _ in 0..3 {
        let Ends { client, owner, relay } = between(&pipes, LIMIT).await;
        let writer = tokio::spawn(async move {
            let mut client = client;
            client.write_all(&noise(32 << 20)).await.unwrap();
            client.shutdown().await.unwrap();
            // Kept open: a close with nothing to read is not what is looked at here.
            let _ = client.read(&mut [0]).await;
        });
        stuck.push((writer, owner, relay));
    }
    timeout(LIMIT, async {
        while lent(&pipes, 1) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    // Those without a pipe are copied, and all come through.
    for (writer, mut owner, relay) in stuck {
        let mut came = Vec::new();
        timeout(LIMIT, owner.read_to_end(&mut came)).await.unwrap().unwrap();
        assert_eq!(came.len(), 32 << 20);
        drop(owner);
        assert_eq!(ended(relay).await, Ok(()));
        writer.await.unwrap();
    }
    assert_eq!(lent(&pipes, 1), 0);
    assert!(pipes.0.idle.lock().unwrap().len() <= 1);
}

#[tokio::test]
async fn silence_ends_it() {
    let Ends { mut client, owner: _owner, relay } = between(&Pipes::default(), Duration::from_millis(50)).await;
    assert_eq!(ended(relay).await, Err(Broken::Stalled));
    assert_eq!(timeout(LIMIT, client.read(&mut [0])).await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn one_way_that_moves_keeps_the_other_alive() {
    let Ends { mut client, mut owner, relay } = between(&Pipes::default(), Duration::from_millis(400)).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        owner.write_all(b"x").await.unwrap();
        timeout(LIMIT, client.read_exact(&mut [0])).await.unwrap().unwrap();
    }
    drop((client, owner));
    let _ = ended(relay).await;
}
