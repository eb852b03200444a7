//! Subscriptions: a connection of their own, kept alive, made anew after every loss.
//!
//! Gets: channels. Gives: messages in order, and `Gap` whenever some may have been lost, also at the beginning.
//! Never: lets a slow reader grow the queue (it gets a `Gap`), or waits for a silent server longer than a ping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{AsyncConnectionConfig, Msg, ProtocolVersion, PushInfo, RedisError, cmd};
use tokio::sync::mpsc;

use super::link::Plan;
use crate::backend::{Message, Subscription};

/// Listens until the subscription is dropped.
pub(super) fn subscribe(plan: Arc<Plan>, channels: Vec<String>) -> Subscription {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(async move {
        // Ends when the receiver is gone; meanwhile every end of a connection is followed by a new one.
        while !sender.is_closed() {
            let _ = listen(&plan, &channels, &sender).await;
            tokio::time::sleep(AGAIN).await;
        }
    });
    Subscription::remote(receiver, task)
}

async fn listen(plan: &Plan, channels: &[String], sender: &mpsc::Sender<Message>) -> Result<(), RedisError> {
    let client = plan.primary(ProtocolVersion::RESP3).await?;
    let lost = Arc::new(AtomicBool::new(false));
    let (queue, full) = (sender.clone(), lost.clone());
    let push = move |info: PushInfo| {
        if let Some(message) = Msg::from_push_info(info) {
            let payload = Message::Payload { channel: message.get_channel_name().to_owned(), payload: message.get_payload_bytes().to_vec() };
            if queue.try_send(payload).is_err() {
                full.store(true, Ordering::Release);
            }
        }
        Ok::<(), redis::aio::SendError>(())
    };
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PING)).set_response_timeout(Some(PING)).set_push_sender(push);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    connection.subscribe(channels).await?;
    // What was published before this moment is not ours to know.
    lost.store(true, Ordering::Release);
    loop {
        if lost.swap(false, Ordering::AcqRel) && sender.send(Message::Gap).await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
        cmd("PING").query_async::<redis::Value>(&mut connection).await?;
    }
}

/// Messages that may wait for a slow reader.
const QUEUE: usize = 1024;
/// Between a loss and the next attempt.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two pings of a quiet connection.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const PING: Duration = Duration::from_secs(2);
