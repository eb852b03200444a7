//! `doctor HOST[:PORT]`: logs in from outside as a client would, and says in words what is wrong and the one thing to change.
//!
//! Gets: an address, a user, perhaps the admin API. Gives: findings, and exit code 0 when nothing has to be changed, 1 when something has.
//! Never: changes anything but one small file of its own, which it removes; sends the password to a server that it cannot verify, unless told to.

mod connection;
mod data;
mod examination;
mod finding;
mod sidecar;
mod trust;

use std::io::{BufRead, IsTerminal};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use super::arguments::{Doctor, Form};
use super::{DONE, FAULT, NOT_WELL, USAGE, complain, print};
use connection::Target;
use examination::Patient;
use finding::{Finding, are_well, as_json, as_text};

pub(super) async fn run(doctor: Doctor) -> u8 {
    let (form, sidecar, ca) = (doctor.output, doctor.url.clone(), doctor.ca.clone());
    // Sockets that block, each with a deadline: a thread of its own.
    let mut findings = match tokio::task::spawn_blocking(move || examine(&doctor)).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(message)) => {
            complain(&message);
            return USAGE;
        }
        Err(error) => {
            complain(&format!("the examination broke off: {error}"));
            return FAULT;
        }
    };
    if let Some(url) = sidecar {
        findings.extend(sidecar::look(&url, ca.as_deref()).await);
    }
    print(&match form {
        Form::Text => as_text(&findings),
        Form::Json => as_json(&findings),
    });
    if are_well(&findings) { DONE } else { NOT_WELL }
}

fn examine(doctor: &Doctor) -> Result<Vec<Finding>, String> {
    let trust = trust::Trust::new(doctor.ca.as_deref())?;
    let password = password(doctor.password_file.as_deref())?;
    let (host, port) = split(&doctor.host, if doctor.implicit { 990 } else { 21 })?;
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host:?} is no host name and no address"))?;
    let targets = resolve(&host, port);
    let Ok(addresses) = targets else {
        return Ok(vec![Finding::bad("name", format!("{host} has no address"), "check the name, and the DNS record of the balancer")]);
    };
    let target = Target { host, address: addresses, name, implicit: doctor.implicit };
    let patient = Patient {
        target,
        trust,
        user: doctor.user.clone(),
        password,
        insecure: doctor.insecure,
        connections: usize::from(doctor.connections),
        directory: doctor.directory.clone(),
    };
    Ok(examination::run(&patient))
}

/// The first address that takes a connection, else the first.
fn resolve(host: &str, port: u16) -> std::io::Result<SocketAddr> {
    let all: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let first = *all.first().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    let open = all.iter().copied().filter(|_| all.len() > 1).find(|address| connection::connect(*address).is_ok());
    Ok(open.unwrap_or(first))
}

/// `HOST`, `HOST:PORT`, `[v6]:PORT` or a bare IPv6 address.
fn split(text: &str, default: u16) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?}: write HOST or HOST:PORT, for example ftps.example.org:21");
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.to_owned(), default));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains(':') => Ok((host.to_owned(), port.parse().map_err(|_| wrong())?)),
        None if !text.is_empty() => Ok((text.to_owned(), default)),
        Some(_) | None => Err(wrong()),
    }
}

/// From a file, else from a hidden prompt when a person types, else the first line of stdin.
fn password(file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{}: cannot be read ({error})", file.display()))?,
        None if std::io::stdin().is_terminal() => {
            rpassword::prompt_password("Password: ").map_err(|error| format!("the password cannot be read ({error}); pipe it in"))?
        }
        None => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map_err(|error| format!("the password cannot be read ({error}); pipe it in"))?;
            line
        }
    };
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err("the password is empty; write it on the first line of stdin or of --password-file".into());
    }
    Ok(Zeroizing::new(line.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_are_taken_with_and_without_a_port() {
        let cases = [
            ("ftps.example.org", ("ftps.example.org", 21)),
            ("ftps.example.org:2121", ("ftps.example.org", 2121)),
            ("192.0.2.1:2121", ("192.0.2.1", 2121)),
            ("::1", ("::1", 21)),
            ("[::1]:2121", ("::1", 2121)),
        ];
        for (text, (host, port)) in cases {
            assert_eq!(split(text, 21).unwrap(), (host.to_owned(), port));
        }
        for wrong in ["", ":21", "a:b:c", "host:port", "host:65536"] {
            assert!(split(wrong, 21).is_err(), "{wrong}");
        }
    }
}
