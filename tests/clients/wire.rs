//! Commands as bytes: a name need not be UTF-8, and the kit's client speaks text.
//!
//! Gets: a session of the kit and bytes. Gives: replies, and what came over the data connection.
//! Never: judges a reply, except in `get` and `put`.

use std::path::PathBuf;

use crate::kit::{Client, Data, Reply};

/// A file of `tests/clients`.
pub fn beside(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/clients").join(name)
}

/// A verb, a blank, an argument, CR LF. 0xFF is doubled, as telnet wants it (RFC 2640 §3.1 keeps that rule).
pub fn line(verb: &str, argument: &[u8]) -> Vec<u8> {
    let mut line = format!("{verb} ").into_bytes();
    for byte in argument {
        line.push(*byte);
        if *byte == 0xff {
            line.push(*byte);
        }
    }
    line.extend(b"\r\n");
    line
}

/// Sends a command and reads its reply.
pub fn say(client: &mut Client, verb: &str, argument: &[u8]) -> Reply {
    client.send(&line(verb, argument)).unwrap();
    client.reply()
}

/// Uploads; the final reply.
pub fn put(client: &mut Client, verb: &str, argument: &[u8], bytes: &[u8]) -> Reply {
    let mut data = match begin(client, verb, argument) {
        Ok(data) => data,
        Err(refusal) => return refusal,
    };
    data.write(bytes).unwrap();
    data.finish();
    client.reply()
}

/// Downloads or lists; the bytes after a 226, or the refusal.
pub fn get(client: &mut Client, verb: &str, argument: &[u8]) -> Result<Vec<u8>, Reply> {
    let mut data = begin(client, verb, argument)?;
    let bytes = data.read_to_end().unwrap();
    data.finish();
    client.expect(226);
    Ok(bytes)
}

/// A listing as lines without their ends, each of which must be CR LF.
pub fn list(client: &mut Client, verb: &str, argument: &[u8]) -> Vec<Vec<u8>> {
    let bytes = get(client, verb, argument).unwrap_or_else(|refusal| panic!("{verb} {}: {}", String::from_utf8_lossy(argument), refusal.text));
    let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(lines.pop(), Some(Vec::new()), "the last line has its end");
    for line in &mut lines {
        assert_eq!(line.pop(), Some(b'\r'), "CR LF");
    }
    lines
}

fn begin(client: &mut Client, verb: &str, argument: &[u8]) -> Result<Data, Reply> {
    let mut data = client.dial();
    let reply = if argument.is_empty() { client.command(verb) } else { say(client, verb, argument) };
    if reply.code != 150 {
        return Err(reply);
    }
    data.handshake().unwrap();
    Ok(data)
}
