//! Certificates and their keys: loaded, checked, chosen for each ClientHello, swapped whole.
//!
//! Gets: PEM files, or nothing (then a self-signed one). Gives: the certificate for a ClientHello, with its staple, fingerprints, dates.
//! Never: serves half of a reload; what is wrong in one file leaves all the old ones in place.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, fs};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};
use sha2::{Digest, Sha256};

use super::der;
use super::error::{FileFault, TlsError};
use super::staples::Holder;
use super::{CertificateFiles, Clock};
use crate::observe::Label;
use crate::observe::staples::StapleResult;

/// The certificates of the node, as they are now.
pub struct Certificates {
    provider: Arc<CryptoProvider>,
    clock: Clock,
    now: ArcSwap<Vec<Loaded>>,
    /// Full handshakes by [`StapleResult`].
    staples: [AtomicU64; 3],
}

/// One certificate, as metrics and the API show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Its DNS names, lower case.
    pub names: Vec<String>,
    /// SHA-256 of the leaf: 64 hex digits.
    pub fingerprint: String,
    /// When it ends, in Unix seconds.
    pub not_after: i64,
    /// Made by this process, because none is configured.
    pub self_signed: bool,
}

/// What anybody can read of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its DNS names, lower case.
    pub names: Vec<String>,
    /// When it begins, in Unix seconds.
    pub not_before: i64,
    /// When it ends, in Unix seconds.
    pub not_after: i64,
}

/// Reads them; `None` when the bytes are no certificate.
pub fn certificate_facts(der: &[u8]) -> Option<CertificateFacts> {
    der::facts(der).map(|facts| CertificateFacts { names: facts.dns_names, not_before: facts.not_before, not_after: facts.not_after })
}

/// A certificate and its key, checked.
#[derive(Clone)]
pub(super) struct Loaded {
    holder: Arc<Holder>,
    info: CertificateInfo,
}

impl Certificates {
    /// Loads all of `files`; a self-signed certificate when there are none.
    ///
    /// # Errors
    /// The first fault found.
    pub(super) fn load(files: &[CertificateFiles], provider: Arc<CryptoProvider>, clock: Clock) -> Result<Self, TlsError> {
        let loaded = if files.is_empty() { vec![self_signed(&provider, clock())?] } else { load_all(files, &provider, clock())? };
        Ok(Self { provider, clock, now: ArcSwap::from_pointee(loaded), staples: Default::default() })
    }

    /// Reads files; nothing changes. `None` when there are none and the self-signed one stays.
    pub(super) fn read(&self, files: &[CertificateFiles]) -> Result<Option<Vec<Loaded>>, TlsError> {
        let self_signed_now = self.now.load().iter().all(|loaded| loaded.info.self_signed);
        match files {
            [] if self_signed_now => Ok(None),
            [] => Ok(Some(vec![self_signed(&self.provider, (self.clock)())?])),
            files => load_all(files, &self.provider, (self.clock)()).map(Some),
        }
    }

    /// New handshakes have these from now on; those that were there before keep their staples. Says whether they are others than before.
    pub(super) fn replace(&self, loaded: Vec<Loaded>) -> bool {
        let before = self.now.load();
        let same = before.iter().map(|old| &old.info.fingerprint).eq(loaded.iter().map(|new| &new.info.fingerprint));
        for new in &loaded {
            before.iter().filter(|old| old.holder.id() == new.holder.id()).for_each(|old| new.holder.inherit(&old.holder));
        }
        self.now.store(Arc::new(loaded));
        !same
    }

    /// What is served, in the order of the configuration. Never empty.
    pub fn infos(&self) -> Vec<CertificateInfo> {
        self.now.load().iter().map(|loaded| loaded.info.clone()).collect()
    }

    /// Each with its staple, in the order of the configuration.
    pub(super) fn holders(&self) -> Vec<Arc<Holder>> {
        self.now.load().iter().map(|loaded| loaded.holder.clone()).collect()
    }

    /// Full handshakes by what could be stapled.
    pub(super) fn staple_counts(&self) -> Vec<(StapleResult, u64)> {
        StapleResult::all().into_iter().map(|result| (result, self.staples[Label::index(result)].load(Ordering::Relaxed))).collect()
    }

    /// A full handshake has shown this certificate.
    pub(super) fn shown(&self, holder: &Holder) {
        if let Some(result) = holder.result() {
            self.staples[Label::index(result)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether any of them is for this host. A self-signed one is for every host: nobody verifies its names.
    pub fn covers(&self, name: &str) -> bool {
        let of = |info: &CertificateInfo| info.self_signed || info.names.iter().any(|known| known == name || wildcard_matches(known, name));
        self.now.load().iter().any(|loaded| of(&loaded.info))
    }

    /// By name (exact, then wildcard, then the first certificate); of several for that name the one that the client can verify, ECDSA before RSA.
    fn choose(&self, name: Option<&str>, can_verify: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<Holder>> {
        let now = self.now.load();
        let first = now.first()?;
        let name = name.map(str::to_ascii_lowercase);
        let exact = |loaded: &Loaded| name.as_ref().is_some_and(|name| loaded.info.names.contains(name));
        let wildcard = |loaded: &Loaded| name.as_ref().is_some_and(|name| loaded.info.names.iter().any(|pattern| wildcard_matches(pattern, name)));
        let default = |loaded: &Loaded| loaded.info.names == first.info.names;
        for group in [&exact as &dyn Fn(&Loaded) -> bool, &wildcard, &default, &|_| true] {
            let usable = now.iter().filter(|loaded| group(loaded) && can_verify(loaded.holder.certified()));
            // ECDSA signs four times as fast as RSA-2048.
            if let Some(best) = usable.min_by_key(|loaded| loaded.holder.certified().key.algorithm() == SignatureAlgorithm::RSA) {
                return Some(best.holder.clone());
            }
        }
        Some(first.holder.clone())
    }
}

impl Certificates {
    /// The certificate for a ClientHello; `host` is the name for one that has none.
    pub(super) fn resolve_for(&self, hello: &ClientHello<'_>, host: Option<&str>) -> Option<Arc<Holder>> {
        // rustls has left out the schemes that fit no cipher suite of this client, so a scheme is all there is to ask for.
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name().or(host), |key| key.key.choose_scheme(schemes).is_some())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.resolve_for(&hello, None).map(|holder| holder.shown())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.now.load().iter().map(|loaded| &loaded.info)).finish()
    }
}

fn load_all(files: &[CertificateFiles], provider: &CryptoProvider, now: u64) -> Result<Vec<Loaded>, TlsError> {
    files.iter().map(|pair| load_one(pair, provider, now)).collect()
}

fn load_one(pair: &CertificateFiles, provider: &CryptoProvider, now: u64) -> Result<Loaded, TlsError> {
    finish(load_pair(pair, provider)?, now, false).map_err(|fault| TlsError::File { path: pair.cert.clone(), fault })
}

/// A certificate and its key, which fit.
pub(super) fn load_pair(pair: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let of_cert = |fault| TlsError::File { path: pair.cert.clone(), fault };
    let of_key = |fault| TlsError::File { path: pair.key.clone(), fault };
    let chain = chain(&pair.cert).map_err(of_cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&pair.key).map_err(of_key)?).map_err(|error| of_key(key_fault(&error)))?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| of_key(FileFault::Key(error.to_string())))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(_) => return Err(of_cert(mismatch(&certified, &pair.key))),
    }
    Ok(certified)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileFault> {
    let length = fs::metadata(path).map_err(FileFault::Unreadable)?.len();
    if length > FILE_MAX {
        return Err(FileFault::NotPem(format!("it has {length} bytes; at most {FILE_MAX} are read")));
    }
    fs::read(path).map_err(FileFault::Unreadable)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let text = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|error| FileFault::NotPem(error.to_string()))?;
    for (place, certificate) in chain.iter().enumerate() {
        ParsedCertificate::try_from(certificate).map_err(|error| FileFault::Broken(place + 1, error.to_string()))?;
    }
    if chain.is_empty() { Err(FileFault::NoCertificate) } else { Ok(chain) }
}

fn key_fault(error: &pem::Error) -> FileFault {
    match error {
        pem::Error::NoItemsFound => FileFault::NoKey,
        other => FileFault::NotPem(other.to_string()),
    }
}

/// The key fits another certificate of the chain, or none.
fn mismatch(certified: &CertifiedKey, key_file: &Path) -> FileFault {
    let fits = |certificate: &CertificateDer<'static>| CertifiedKey::new(vec![certificate.clone()], certified.key.clone()).keys_match().is_ok();
    match certified.cert.iter().position(fits) {
        Some(place) => FileFault::Order(place + 1),
        None => FileFault::Mismatch(key_file.to_owned()),
    }
}

fn finish(certified: CertifiedKey, now: u64, self_signed: bool) -> Result<Loaded, FileFault> {
    let leaf = certified.cert.first().ok_or(FileFault::NoCertificate)?;
    let facts = der::facts(leaf).ok_or_else(|| FileFault::Broken(1, "its dates or names".to_owned()))?;
    let seconds = i64::try_from(now / 1000).unwrap_or(i64::MAX);
    if facts.not_after < seconds {
        return Err(FileFault::Expired(date(facts.not_after)));
    }
    if facts.not_before > seconds + CLOCK_SKEW {
        return Err(FileFault::NotYet(date(facts.not_before)));
    }
    let fingerprint = Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect();
    let info = CertificateInfo { names: facts.dns_names, fingerprint, not_after: facts.not_after, self_signed };
    Ok(Loaded { holder: Arc::new(Holder::new(certified, &info.names)), info })
}

fn self_signed(provider: &CryptoProvider, now: u64) -> Result<Loaded, TlsError> {
    let fault = |error: &dyn fmt::Display| TlsError::SelfSigned(error.to_string());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| fault(&error))?;
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(host_name());
    let mut params = rcgen::CertificateParams::new(names).map_err(|error| fault(&error))?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "ftps-gateway, self-signed");
    let today = i64::try_from(now / 86_400_000).unwrap_or(0);
    let day = |days| {
        let (year, month, day) = der::civil_from_days(days);
        rcgen::date_time_ymd(year, month, day)
    };
    (params.not_before, params.not_after) = (day(today - 1), day(today + SELF_SIGNED_DAYS));
    let certificate = params.self_signed(&key).map_err(|error| fault(&error))?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let certified = CertifiedKey::from_der(vec![certificate.der().clone()], key, provider).map_err(|error| fault(&error))?;
    finish(certified, now, true).map_err(|error| fault(&error))
}

/// The name of this machine, if it can stand in a certificate.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_ascii_lowercase();
    let fits = !name.is_empty() && name.len() <= 253 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    (fits && name != "localhost").then_some(name)
}

/// `*.example.org` stands for one label (RFC 6125 §6.4.3).
fn wildcard_matches(pattern: &str, name: &str) -> bool {
    let (Some(suffix), Some((label, rest))) = (pattern.strip_prefix("*."), name.split_once('.')) else { return false };
    !label.is_empty() && rest == suffix
}

fn date(seconds: i64) -> String {
    let (year, month, day) = der::civil_from_days(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Most bytes of a PEM file.
const FILE_MAX: u64 = 1024 * 1024;
/// How far our clock may be behind the issuer's, in seconds.
const CLOCK_SKEW: i64 = 300;
/// Life of a self-signed certificate: nobody renews it but a restart.
const SELF_SIGNED_DAYS: i64 = 3650;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::path::PathBuf;

    use rustls::SignatureScheme::{self, ECDSA_NISTP256_SHA256, RSA_PSS_SHA256};

    use super::*;
    use crate::observe::id::Ulid;

    /// 2026-11-20
    const NOW: u64 = 1_795_132_800_000;

    /// A directory of its own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("ftps-certificates-{}", Ulid::now()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }

        fn pair(&self, name: &str, (cert, key): &(String, String)) -> CertificateFiles {
            CertificateFiles { cert: self.write(&format!("{name}.crt"), cert), key: self.write(&format!("{name}.key"), key) }
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn made(names: &[&str], years: (i32, i32), rsa: bool) -> (String, String) {
        let key = if rsa { rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256) } else { rcgen::KeyPair::generate() }.unwrap();
        let mut params = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(years.0, 1, 1), rcgen::date_time_ymd(years.1, 1, 1));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn ecdsa(name: &str) -> (String, String) {
        made(&[name], (2026, 2036), false)
    }

    fn load(files: &[CertificateFiles]) -> Result<Certificates, TlsError> {
        Certificates::load(files, Arc::new(crate::tls::crypto_provider()), Arc::new(|| NOW))
    }

    fn fault(files: &CertificateFiles) -> String {
        load(std::slice::from_ref(files)).unwrap_err().to_string()
    }

    /// The place in the configuration of what a client with this name and these schemes is shown.
    fn chosen(certificates: &Certificates, name: Option<&str>, schemes: &[SignatureScheme]) -> usize {
        let holder = certificates.choose(name, |key| key.key.choose_scheme(schemes).is_some()).unwrap();
        certificates.now.load().iter().position(|loaded| Arc::ptr_eq(&loaded.holder, &holder)).unwrap()
    }

    #[test]
    fn the_name_chooses_exact_then_wildcard_then_the_first() {
        let dir = Directory::new();
        let names = ["default.org", "*.example.org", "FTP.example.org"];
        let files: Vec<_> = names.iter().enumerate().map(|(place, name)| dir.pair(&place.to_string(), &ecdsa(name))).collect();
        let certificates = load(&files).unwrap();
        let any = [ECDSA_NISTP256_SHA256];
        for (name, place) in [("ftp.example.org", 2), ("Other.Example.org", 1), ("a.b.example.org", 0), ("example.org", 0), ("nobody.net", 0)] {
            assert_eq!(chosen(&certificates, Some(name), &any), place, "{name}");
        }
        assert_eq!(chosen(&certificates, None, &any), 0);
    }

    #[test]
    fn rsa_stands_beside_ecdsa_for_clients_that_know_nothing_else() {
        let dir = Directory::new();
        let files = [dir.pair("rsa", &made(&["a.org"], (2026, 2036), true)), dir.pair("ecdsa", &ecdsa("a.org")), dir.pair("b", &ecdsa("b.org"))];
        let certificates = load(&files).unwrap();
        for name in [Some("a.org"), None] {
            assert_eq!(chosen(&certificates, name, &[ECDSA_NISTP256_SHA256, RSA_PSS_SHA256]), 1);
            assert_eq!(chosen(&certificates, name, &[RSA_PSS_SHA256]), 0);
        }
        assert_eq!(chosen(&certificates, Some("b.org"), &[RSA_PSS_SHA256]), 0, "a certificate of another name is better than none");
    }

    #[test]
    fn every_fault_names_its_file_and_says_what_to_do() {
        let dir = Directory::new();
        let (good, other) = (ecdsa("a.org"), ecdsa("b.org"));
        let with = |cert: &str, key: &str| dir.pair("x", &(cert.to_owned(), key.to_owned()));
        let check = |cert: &str, key: &str, words: &str| {
            let files = with(cert, key);
            let said = fault(&files);
            assert!(said.contains(words) && said.starts_with(dir.0.to_str().unwrap()), "{said}");
        };
        check(&good.0, &other.1, "does not belong to the private key in");
        check(&format!("{}{}", other.0, good.0), &good.1, "its certificate 2 does: put the server's own certificate first");
        check("hello", &good.1, "holds no certificate");
        check(&good.0, "hello", "holds no private key");
        check(&good.0, &good.0, "holds no private key");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.1, "certificate 1 does not parse");
        check("-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n", &good.1, "is not PEM");
        check(&good.0, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not supported");
        for (years, words) in [((2020, 2021), "expired on 2021-01-01: renew it"), ((2027, 2036), "is not valid before 2027-01-01: check the clock")] {
            let (cert, key) = made(&["a.org"], years, false);
            check(&cert, &key, words);
        }
        let missing = CertificateFiles { cert: dir.0.join("no-such-file"), key: dir.0.join("x.key") };
        assert!(fault(&missing).contains("cannot be read"));
    }

    #[test]
    fn a_reload_takes_all_or_nothing() {
        let dir = Directory::new();
        let files = [dir.pair("a", &ecdsa("a.org")), dir.pair("b", &ecdsa("b.org"))];
        let certificates = load(&files).unwrap();
        let before = certificates.infos();
        let reload = || Ok::<_, TlsError>(certificates.read(&files)?.is_some_and(|loaded| certificates.replace(loaded)));
        assert!(!reload().unwrap());
        dir.pair("a", &ecdsa("new.org"));
        dir.pair("b", &made(&["b.org"], (2020, 2021), false));
        assert!(reload().unwrap_err().to_string().contains("b.crt: expired"));
        assert_eq!(certificates.infos(), before);
        dir.pair("b", &ecdsa("b.org"));
        assert!(reload().unwrap());
        assert_eq!(certificates.infos()[0].names, ["new.org"]);
        assert_eq!(certificates.infos()[0].not_after, 2_082_758_400);
    }

    #[test]
    fn without_files_there_is_a_self_signed_certificate_for_this_machine() {
        let certificates = load(&[]).unwrap();
        let [info] = &certificates.infos()[..] else { panic!("one certificate") };
        assert!(info.self_signed && info.names.contains(&"localhost".to_owned()));
        assert!(info.fingerprint.len() == 64 && info.fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(info.not_after > (NOW / 1000) as i64);
        assert!(certificates.read(&[]).unwrap().is_none(), "it stays over a reload");
        assert!(!format!("{certificates:?}").contains("key"));
    }
}
