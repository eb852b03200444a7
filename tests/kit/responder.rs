//! An authority with a real OCSP responder: `openssl ocsp`, behind a door that counts who comes and can be shut.
//!
//! Gets: certificates to issue and to revoke. Gives: chains that name the responder, how often it was asked, its answers through OpenSSL.
//! Never: a responder of ours: what it says, and how it says it over HTTP, is OpenSSL's.

use std::io::{BufRead, BufReader, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ftps_proto::der::{OBJECT_ID, SEQUENCE, write};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};

use super::{Tree, register, unregister};

/// An authority and its responder.
pub struct Responder {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Where the responder is asked.
    url: String,
    door: Arc<Door>,
    /// Serial numbers; `true`: revoked.
    issued: Vec<(u8, bool)>,
    child: Option<Child>,
    tree: Tree,
}

/// Whom the door leads to, and how often it was gone through.
#[derive(Default)]
struct Door {
    behind: Mutex<Option<SocketAddr>>,
    asked: AtomicUsize,
}

impl Responder {
    /// An authority with a delegate that signs for it, and a door that is shut.
    pub fn new() -> Self {
        let (key, tree) = (KeyPair::generate().expect("a key"), Tree::new());
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Authority with a responder");
        let ca_pem = params.self_signed(&key).expect("a certificate").pem();
        let (ca, issuer) = (tree.write("ca.pem", ca_pem.as_bytes()), Issuer::new(params, key));
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "Responder");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // id-pkix-ocsp-nocheck
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0])];
        tree.write("signer.pem", params.signed_by(&key, &issuer).expect("a certificate").pem().as_bytes());
        tree.write("signer.key", key.serialize_pem().as_bytes());
        let (address, door) = open();
        Self { issuer, ca_pem, ca, url: format!("http://{address}/ocsp"), door, issued: Vec::new(), child: None, tree }
    }

    /// A chain and its key, as PEM, for `localhost` and these hosts; `promises`: with Must-Staple.
    pub fn issue(&mut self, serial: u8, hosts: &[&str], promises: bool) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names = [&["localhost", "127.0.0.1"], hosts].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.serial_number = Some(SerialNumber::from(u64::from(serial)));
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2049, 1, 1));
        let method = write(OBJECT_ID, &[&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01]]);
        let access = write(SEQUENCE, &[&write(SEQUENCE, &[&method, &write(0x86, &[self.url.as_bytes()])])]);
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)];
        if promises {
            params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]));
        }
        self.issued.push((serial, false));
        let chain = params.signed_by(&key, &self.issuer).expect("a certificate").pem() + &self.ca_pem;
        (chain, key.serialize_pem())
    }

    /// From the next [`Responder::up`] on.
    pub fn revoke(&mut self, serial: u8) {
        self.issued.iter_mut().filter(|(issued, _)| *issued == serial).for_each(|(_, revoked)| *revoked = true);
    }

    /// Starts OpenSSL's responder, which knows what was issued until now, and opens the door.
    pub fn up(&mut self) {
        self.down();
        let line = |(serial, revoked): &(u8, bool)| {
            let (kind, at) = if *revoked { ("R", "261101120000Z") } else { ("V", "") };
            format!("{kind}\t490101000000Z\t{at}\t{serial:02X}\tunknown\t/CN=test-{serial}\n")
        };
        self.tree.write("index.txt", self.issued.iter().map(line).collect::<String>().as_bytes());
        // It says where it listens. It must not be tried out: a connection without a request keeps this responder from all others.
        let words = "ocsp -index index.txt -CA ca.pem -rsigner signer.pem -rkey signer.key -ndays 7 -port 0";
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(self.tree.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl");
        register(child.id());
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("where it listens");
        self.child = Some(child);
        // `ACCEPT [::]:41234 PID=7`
        let port = line.split(' ').nth(1).and_then(|address| address.rsplit(':').next()?.parse().ok());
        *self.door.behind() = Some(SocketAddr::from(([127, 0, 0, 1], port.unwrap_or_else(|| panic!("openssl ocsp does not start: {line}")))));
    }

    /// Shuts the door: whoever comes is sent away, and counted.
    pub fn down(&mut self) {
        *self.door.behind() = None;
        if let Some(mut child) = self.child.take() {
            unregister(child.id());
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// How often somebody came.
    pub fn asked(&self) -> usize {
        self.door.asked.load(Ordering::Acquire)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.down();
    }
}

impl Door {
    fn behind(&self) -> std::sync::MutexGuard<'_, Option<SocketAddr>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A door on a free port; its thread ends with the process.
fn open() -> (SocketAddr, Arc<Door>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (address, door) = (listener.local_addr().expect("its address"), Arc::<Door>::default());
    let inside = door.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            inside.asked.fetch_add(1, Ordering::AcqRel);
            let behind = *inside.behind();
            if let Some(server) = behind.and_then(|address| TcpStream::connect(address).ok()) {
                std::thread::spawn(move || carry(&stream, &server));
            }
        }
    });
    (address, door)
}

/// Both ways, until the responder has said everything.
fn carry(client: &TcpStream, server: &TcpStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&mut &*client, &mut &*server));
        let _ = copy(&mut &*server, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}
