//! What one node says of a data connection that it brings to another, sealed: whose it is, where it came from, what was read of it.
//!
//! Gets: facts and the receiver's 16 random bytes, or what came over the peer port. Gives: a frame, or the facts. Bound to those bytes, it opens once: on the
//! connection that it was made for. Needs no clock and no memory of what was seen.
//! Never: trusts a length that nobody sealed beyond its cap.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ftps_proto::hello::MAX_HELLO;
use ftps_store::seal::{Keyring, OVERHEAD, OpenError, Purpose, SealError};
use ftps_store::wire::{Reader, WireError, Writer};

use crate::observe::id::{SessionId, Ulid};
use crate::observe::peers::PeerRefusal;
use crate::tls::Family;

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whose it is: the session itself, or one of the same client.
    pub(super) session: SessionId,
    /// Its family.
    pub(super) family: Family,
    /// The data port it came to.
    pub(super) port: u16,
    /// The client's true address.
    pub(super) peer: SocketAddr,
    /// How long ago its first byte was awaited.
    pub(super) waited: Duration,
    /// What was read: the ClientHello.
    pub(super) read: Vec<u8>,
}

/// The receiver's random bytes.
pub(super) type Nonce = [u8; 16];

impl Header {
    /// The frame: four bytes of length, then the sealed facts. `day`: the UTC day.
    pub(super) fn seal(&self, ring: &Keyring, day: u32, nonce: &Nonce) -> Result<Vec<u8>, SealError> {
        let body = self.body().map_err(|_| SealError::Size)?;
        let sealed = ring.seal(Purpose::PeerHeader, day, nonce, &body)?;
        let length = u32::try_from(sealed.len()).map_err(|_| SealError::Size)?;
        Ok([&length.to_be_bytes()[..], &sealed].concat())
    }

    /// The facts of a frame without its length.
    pub(super) fn open(ring: &Keyring, nonce: &Nonce, sealed: &[u8]) -> Result<Self, PeerRefusal> {
        let body = ring.open(Purpose::PeerHeader, nonce, sealed).map_err(|error| match error {
            OpenError::Size => PeerRefusal::HeaderSize,
            OpenError::Version | OpenError::KeyUnknown | OpenError::Mac => PeerRefusal::HeaderForged,
        })?;
        Self::of_body(&body).map_err(|_| PeerRefusal::HeaderMalformed)
    }

    fn body(&self) -> Result<Vec<u8>, WireError> {
        let mut writer = Writer::new(BODY_MAX);
        let ip = match self.peer.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let waited = u32::try_from(self.waited.as_millis()).unwrap_or(u32::MAX);
        writer.array(&self.session.0.to_bytes()).array(&self.family.0.to_bytes()).u16(self.port).array(&ip.octets()).u16(self.peer.port());
        writer.u32(waited).bytes(&self.read);
        writer.finish()
    }

    fn of_body(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let header = Self {
            session: SessionId(Ulid::from_bytes(reader.array()?)),
            family: Family(Ulid::from_bytes(reader.array()?)),
            port: reader.u16()?,
            peer: SocketAddr::new(folded(reader.array()?), reader.u16()?),
            waited: Duration::from_millis(reader.u32()?.into()),
            read: reader.bytes(READ_MAX)?.to_vec(),
        };
        reader.end()?;
        Ok(header)
    }
}

fn folded(octets: [u8; 16]) -> IpAddr {
    let ip = Ipv6Addr::from(octets);
    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), |ip: Ipv4Addr| IpAddr::V4(ip))
}

/// The hello, and what came in the same read behind it.
const READ_MAX: usize = MAX_HELLO + 4096;

/// Behind two ids, two ports, an address, an age and the length.
const BODY_MAX: usize = READ_MAX + 2 * 16 + 2 * 2 + 16 + 4 + 4;

/// The longest frame behind its length.
pub(super) const FRAME_MAX: usize = BODY_MAX + OVERHEAD;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_store::seal::Secrets;

    use super::*;

    fn ring(secret: u8) -> Keyring {
        Keyring::new(&Secrets::new(&[&[secret; 32]]).unwrap())
    }

    fn header(peer: &str, read: usize) -> Header {
        let (session, family) = (SessionId::now(), Family(Ulid::now()));
        Header { session, family, port: 50_000, peer: peer.parse().unwrap(), waited: Duration::from_millis(7), read: vec![22; read] }
    }

    #[test]
    fn what_is_sealed_is_opened_by_a_holder_of_the_secret() {
        for (peer, read) in [("192.0.2.1:9", 0), ("[2001:db8::1]:65535", 300), ("192.0.2.1:9", READ_MAX)] {
            let header = header(peer, read);
            let frame = header.seal(&ring(1), 20_000, &[5; 16]).unwrap();
            let (length, sealed) = frame.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, sealed.len());
            assert!(sealed.len() <= FRAME_MAX);
            assert_eq!(Header::open(&ring(1), &[5; 16], sealed), Ok(header));
        }
        assert!(header("192.0.2.1:9", READ_MAX + 1).seal(&ring(1), 0, &[0; 16]).is_err());
    }

    #[test]
    fn forged_replayed_altered_and_short_ones_do_not_open() {
        let frame = header("192.0.2.1:9", 300).seal(&ring(1), 20_000, &[5; 16]).unwrap();
        let sealed = &frame[4..];
        assert_eq!(Header::open(&ring(2), &[5; 16], sealed), Err(PeerRefusal::HeaderForged), "another secret");
        assert_eq!(Header::open(&ring(1), &[6; 16], sealed), Err(PeerRefusal::HeaderForged), "another connection");
        for place in 0..sealed.len() {
            let mut altered = sealed.to_vec();
            altered[place] ^= 1;
            assert_eq!(Header::open(&ring(1), &[5; 16], &altered), Err(PeerRefusal::HeaderForged), "byte {place}");
        }
        assert_eq!(Header::open(&ring(1), &[5; 16], &sealed[..20]), Err(PeerRefusal::HeaderSize));
        let odd = ring(1).seal(Purpose::PeerHeader, 20_000, &[5; 16], b"something else").unwrap();
        assert_eq!(Header::open(&ring(1), &[5; 16], &odd), Err(PeerRefusal::HeaderMalformed));
    }
}
