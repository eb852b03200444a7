//! Bytes both ways, and every way in which a stream can end.
//!
//! Promised: what arrives is what was sent; an end is told from a cut; silence is bounded; a client that never reads loses no upload.
//! Not here: what becomes of the file, which the session decides.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ftps_proto::command::TransferType;
use ftps_proto::machine::io::FileError;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::kit::{Kit, LIMIT, SECOND, TLS12, TLS13};
use crate::data::pump::{PumpError, Sink, Source, receive_file, send_file, send_listing};
use crate::data::stream::{Cut, End, Received, Receiver};

/// Bytes that do not repeat in step with any buffer.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

struct Memory {
    bytes: Vec<u8>,
    sent: usize,
    chunk: usize,
}

impl Source for Memory {
    async fn read(&mut self) -> Result<&[u8], FileError> {
        let from = self.sent;
        self.sent = self.bytes.len().min(from + self.chunk);
        Ok(&self.bytes[from..self.sent])
    }
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    fail_after: Option<usize>,
}

impl Sink for Kept {
    async fn write(&mut self, mut bytes: Vec<u8>) -> Result<Vec<u8>, FileError> {
        self.bytes.extend_from_slice(&bytes);
        bytes.clear();
        if self.fail_after.is_some_and(|limit| self.bytes.len() > limit) { Err(FileError::NoSpace) } else { Ok(bytes) }
    }
}

async fn drain(receiver: &mut Receiver) -> Result<(Vec<u8>, End), Cut> {
    let mut bytes = Vec::new();
    loop {
        if let Received::End(end) = timeout(LIMIT, receiver.recv(&mut bytes)).await.unwrap()? {
            return Ok((bytes, end));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_mebibytes_go_out_whole() {
    let kit = Kit::new().await;
    for version in [TLS12, TLS13] {
        let bytes = pattern(50 << 20);
        let wanted = Sha256::digest(&bytes);
        let (sender, client) = kit.download(&kit.client(version, true), |mut client| client.read_all().map(Sha256::digest)).await;
        let progress = AtomicU64::new(0);
        let mut source = Memory { bytes, sent: 0, chunk: 64 * 1024 };
        let sent = timeout(LIMIT, send_file(sender, &mut source, TransferType::Image, &progress)).await.unwrap();
        assert_eq!((sent, progress.load(Relaxed)), (Ok(50 << 20), 50 << 20));
        assert_eq!(client.await.unwrap().unwrap(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_mebibytes_come_in_whole() {
    let kit = Kit::new().await;
    for version in [TLS12, TLS13] {
        let bytes = pattern((50 << 20) + 7);
        let wanted = Sha256::digest(&bytes);
        let (mut receiver, client) = kit
            .upload(&kit.client(version, true), move |mut client| {
                client.send(&bytes).unwrap();
                client.close_notify();
                client.read_all()
            })
            .await;
        let (mut sink, progress) = (Kept::default(), AtomicU64::new(0));
        let received = timeout(LIMIT, receive_file(&mut receiver, &mut sink, TransferType::Image, &progress)).await.unwrap();
        assert_eq!(received, Ok(((50 << 20) + 7, End::CloseNotify)));
        assert_eq!(progress.load(Relaxed), (50 << 20) + 7);
        assert_eq!(Sha256::digest(&sink.bytes), wanted);
        receiver.close().await;
        assert_eq!(client.await.unwrap().unwrap(), b"", "the client sees a clean end too");
    }
}

#[tokio::test]
async fn text_is_converted_both_ways() {
    let kit = Kit::new().await;
    let client = kit.client(TLS13, true);
    let progress = AtomicU64::new(0);
    let (sender, task) = kit.download(&client, |mut client| client.read_all()).await;
    let mut source = Memory { bytes: b"a\nb\r\nc\n".to_vec(), sent: 0, chunk: 3 };
    assert_eq!(send_file(sender, &mut source, TransferType::Ascii, &progress).await, Ok(9));
    assert_eq!(task.await.unwrap().unwrap(), b"a\r\nb\r\nc\r\n");

    let (mut receiver, task) = kit
        .upload(&client, |mut client| {
            client.send(b"a\r\nb\rc\r\nd\r").unwrap();
            client.close_notify();
            client
        })
        .await;
    let mut sink = Kept::default();
    assert_eq!(receive_file(&mut receiver, &mut sink, TransferType::Ascii, &progress).await, Ok((10, End::CloseNotify)));
    assert_eq!(sink.bytes, b"a\nb\rc\nd\r");
    assert_eq!(progress.load(Relaxed), 19);
    drop(task.await);
}

#[tokio::test]
async fn empty_files_and_listings_end_cleanly() {
    let kit = Kit::new().await;
    let client = kit.client(TLS13, true);
    let progress = AtomicU64::new(0);
    let (sender, task) = kit.download(&client, |mut client| client.read_all()).await;
    assert_eq!(send_listing(sender, &mut Memory { bytes: vec![], sent: 0, chunk: 1 }, &progress).await, Ok(0));
    assert_eq!(task.await.unwrap().unwrap(), b"");
    let (mut receiver, task) = kit
        .upload(&client, |mut client| {
            client.handshake().unwrap();
            client.close_notify();
            client
        })
        .await;
    assert_eq!(drain(&mut receiver).await, Ok((vec![], End::CloseNotify)));
    drop(task.await);
}

#[tokio::test]
async fn a_fin_says_whether_it_cut_a_record() {
    let kit = Kit::new().await;
    let client = kit.client(TLS13, true);
    let (mut receiver, task) = kit
        .upload(&client, |mut client| {
            client.send(&[7; 30_000]).unwrap();
            client.fin();
            client
        })
        .await;
    assert_eq!(drain(&mut receiver).await, Ok((vec![7; 30_000], End::Fin { on_record_boundary: true })));
    drop(task.await);

    let (mut receiver, task) = kit
        .upload(&client, |mut client| {
            client.send(&[7; 10_000]).unwrap();
            let mut record = Vec::new();
            std::io::Write::write_all(&mut client.tls.writer(), &[8; 5000]).unwrap();
            client.tls.write_tls(&mut record).unwrap();
            std::io::Write::write_all(&mut client.tcp, &record[..record.len() - 1]).unwrap();
            client.fin();
            client
        })
        .await;
    assert_eq!(drain(&mut receiver).await, Ok((vec![7; 10_000], End::Fin { on_record_boundary: false })));
    drop(task.await);
}

#[tokio::test]
async fn a_reset_and_garbage_break_an_upload() {
    let kit = Kit::new().await;
    let client = kit.client(TLS13, true);
    // Not before the handshake is over on our side too: a reset throws away what is not read yet.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (mut receiver, task) = kit
        .upload(&client, move |mut client| {
            client.send(&[7; 100_000]).unwrap();
            wait.recv_timeout(LIMIT).unwrap();
            client.reset();
        })
        .await;
    go.send(()).unwrap();
    assert_eq!(drain(&mut receiver).await, Err(Cut::Broken));
    task.await.unwrap();

    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (mut receiver, task) = kit
        .upload(&client, move |mut client| {
            client.send(&[7; 1000]).unwrap();
            wait.recv_timeout(LIMIT).unwrap();
            std::io::Write::write_all(&mut client.tcp, &[23, 3, 3, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9].repeat(10)).unwrap();
            client
        })
        .await;
    go.send(()).unwrap();
    assert_eq!(drain(&mut receiver).await, Err(Cut::Broken));
    drop(task.await);
}

#[tokio::test]
async fn a_download_to_a_client_that_resets_is_broken() {
    let kit = Kit::new().await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (mut sender, task) = kit
        .download(&kit.client(TLS13, true), move |mut client| {
            client.handshake().unwrap();
            wait.recv_timeout(LIMIT).unwrap();
            client.reset();
        })
        .await;
    go.send(()).unwrap();
    task.await.unwrap();
    let bytes = vec![1; 64 * 1024];
    let cut = async { while sender.send(&bytes).await.is_ok() {} };
    timeout(LIMIT, cut).await.unwrap();
    assert_eq!(sender.send(&bytes).await, Err(Cut::Broken));
}

#[tokio::test]
async fn silence_is_a_stall_both_ways() {
    let kit = Kit::new().await;
    let client = kit.client(TLS13, true);
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let task = kit.run(&client, move |mut client| {
        client.send(b"one").unwrap();
        let _ = held.recv_timeout(LIMIT);
    });
    let mut receiver = kit.stream().await.into_receiver(Duration::from_millis(100));
    assert_eq!(drain(&mut receiver).await, Err(Cut::Stalled));
    drop(hold);
    task.await.unwrap();

    let (hold, held) = std::sync::mpsc::channel::<()>();
    let task = kit.run(&client, move |mut client| {
        client.handshake().unwrap();
        let _ = held.recv_timeout(LIMIT);
    });
    let mut sender = kit.stream().await.into_sender(Duration::from_millis(100));
    let bytes = vec![1; 64 * 1024];
    let stalled = async {
        loop {
            if let Err(cut) = sender.send(&bytes).await {
                return cut;
            }
        }
    };
    assert_eq!(timeout(LIMIT, stalled).await.unwrap(), Cut::Stalled);
    drop(hold);
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_loses_no_upload() {
    let kit = Kit::new().await;
    let client = kit.client(TLS13, true);
    for _ in 0..20 {
        let (mut receiver, task) = kit
            .upload(&client, |mut client| {
                client.send(&[7; 500_000]).unwrap();
                client.close_notify();
            })
            .await;
        let (bytes, end) = drain(&mut receiver).await.unwrap();
        assert_eq!((bytes.len(), end), (500_000, End::CloseNotify));
        receiver.close().await;
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_stops_an_upload() {
    let kit = Kit::new().await;
    let (mut receiver, task) = kit.upload(&kit.client(TLS13, true), |mut client| client.send(&vec![7; 20 << 20])).await;
    let mut sink = Kept { bytes: vec![], fail_after: Some(1 << 20) };
    let stopped = timeout(LIMIT, receive_file(&mut receiver, &mut sink, TransferType::Image, &AtomicU64::new(0))).await.unwrap();
    assert_eq!(stopped, Err(PumpError::File(FileError::NoSpace)));
    drop(receiver);
    assert!(task.await.unwrap().is_err(), "the client is told by a reset");
}

#[tokio::test]
async fn a_download_dropped_in_the_middle_does_not_look_whole() {
    let kit = Kit::new().await;
    let (mut sender, task) = kit.download(&kit.client(TLS13, true), |mut client| client.read_all()).await;
    sender.send(&[1; 1000]).await.unwrap();
    drop(sender);
    assert!(task.await.unwrap().is_err());
}

#[tokio::test]
async fn an_end_waits_for_the_client_but_not_for_ever() {
    let kit = Kit::new().await;
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (mut sender, task) = kit
        .download(&kit.client(TLS12, true), move |mut client| {
            client.handshake().unwrap();
            let _ = held.recv_timeout(LIMIT);
        })
        .await;
    sender.send(b"x").await.unwrap();
    assert_eq!(timeout(10 * SECOND, sender.finish()).await.unwrap(), Ok(()));
    drop(hold);
    task.await.unwrap();
}
