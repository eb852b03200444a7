//! The end of a session whose client has no TLS ticket left, so that it connects again and gets new ones.
//!
//! Gets: a session that `data::channel` calls dry or spent, before the outcome of its transfer is told. Gives: a last reply that says so, and the end with it.
//! curl 7.88 takes a connection on which anything waits to be read for a living one and loses its next file to it: so nothing comes behind that reply, and the
//! end comes in the same packet.
//! Never: costs the client a login of its minute's worth, or sends away twice one that needed its session.

use std::time::{Duration, Instant};

use ftps_proto::machine::Machine;
use ftps_proto::machine::io::{EndReason, Input};
use ftps_proto::verbs::Verb;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Carried;
use super::control::{Control, Turn};
use crate::data::channel::Channel;

/// The next reply is the last one. The client did not ask for the login that this costs it.
pub(super) fn announce(machine: &mut Machine, carried: &Carried) {
    carried.house.limits.login_returned(carried.identity.peer.ip(), Instant::now());
    machine.input(Input::EndWhenIdle(EndReason::TicketsSpent));
}

/// Ends it. A client that goes on in the same session all the same needed it for more than the next transfer, and is remembered for that.
pub(super) async fn part(control: &mut Control<TlsStream<TcpStream>>, patience: Duration, channel: &mut Channel) {
    if let Turn::Read(bytes) = control.hang_up(patience).await {
        let word = bytes.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        Verb::from_bytes(word).into_iter().for_each(|verb| channel.note_too_late(verb));
    }
}
