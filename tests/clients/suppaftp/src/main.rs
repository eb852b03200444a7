//! Rust's suppaftp with rustls; the work and its words stand in README.md one level up.
//!
//! Called as `suppaftp-client PORT CA USER PASSWORD VERSION MODE DIRECTORY`. Never: an option that lowers what is checked.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use suppaftp::list::ListParser;
use suppaftp::rustls::pki_types::CertificateDer;
use suppaftp::rustls::pki_types::pem::PemObject;
use suppaftp::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use suppaftp::types::FileType;
use suppaftp::{RustlsConnector, RustlsFtpStream};

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, authority, user, password, version, mode, directory] = &arguments[..] else { return Err("seven arguments".into()) };
    std::env::set_current_dir(directory)?;
    let connector = RustlsConnector::from(Arc::new(trusting(authority, version)?));
    let address = format!("localhost:{port}");
    let mut ftp = if mode == "implicit" {
        RustlsFtpStream::connect_secure_implicit(&address, connector, "localhost")?
    } else {
        RustlsFtpStream::connect(&address)?.into_secure(connector, "localhost")?
    };
    ftp.get_ref().set_read_timeout(Some(Duration::from_secs(30)))?;
    ftp.login(user, password)?;
    ftp.transfer_type(FileType::Binary)?;
    println!("ok login");
    work(&mut ftp)?;
    put_tree(&mut ftp, Path::new("tree"), "/tree")?;
    take_tree(&mut ftp, "/tree", Path::new("back"))?;
    println!("ok recursive");
    Ok(ftp.quit()?)
}

fn work(ftp: &mut RustlsFtpStream) -> Done {
    let whole = fs::read("up.bin")?;
    let half = whole.len() / 2;
    ftp.mkdir("work")?;
    ftp.put_file("work/first.bin", &mut File::open("up.bin")?)?;
    println!("ok upload");
    let names = ftp.nlst(Some("work"))?;
    let facts = ftp.mlsd(Some("work"))?.iter().map(|line| ListParser::parse_mlsd(line)).collect::<Result<Vec<_>, _>>()?;
    let lines = ftp.list(Some("work"))?.iter().map(|line| ListParser::parse_posix(line)).collect::<Result<Vec<_>, _>>()?;
    let sizes = [ftp.size("work/first.bin")?, lines[0].size(), facts.iter().find(|file| file.name() == "first.bin").map_or(0, |file| file.size())];
    holds(names == ["first.bin"] && lines.len() == 1 && lines[0].name() == "first.bin" && sizes == [whole.len(); 3], "the listing")?;
    println!("ok list");
    holds(ftp.retr_as_buffer("work/first.bin")?.into_inner() == whole, "the download")?;
    println!("ok download");
    ftp.resume_transfer(half)?;
    holds(ftp.retr_as_buffer("work/first.bin")?.into_inner() == whole[half..], "the resumed download")?;
    println!("ok resume-down");
    ftp.put_file("kept.bin", &mut File::open("half.bin")?)?;
    ftp.resume_transfer(half)?;
    ftp.put_file("kept.bin", &mut &whole[half..])?;
    println!("ok resume-up");
    ftp.rename("work/first.bin", "work/second.bin")?;
    println!("ok rename");
    ftp.rm("work/second.bin")?;
    ftp.rmdir("work")?;
    println!("ok delete");
    Ok(())
}

fn put_tree(ftp: &mut RustlsFtpStream, from: &Path, to: &str) -> Done {
    ftp.mkdir(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let there = format!("{to}/{}", path.file_name().and_then(|name| name.to_str()).ok_or("a name")?);
        if path.is_dir() {
            put_tree(ftp, &path, &there)?;
        } else {
            ftp.put_file(&there, &mut File::open(&path)?)?;
        }
    }
    Ok(())
}

fn take_tree(ftp: &mut RustlsFtpStream, from: &str, to: &Path) -> Done {
    fs::create_dir(to)?;
    for line in ftp.list(Some(from))? {
        let entry = ListParser::parse_posix(&line)?;
        let (there, here) = (format!("{from}/{}", entry.name()), to.join(entry.name()));
        if entry.is_directory() {
            take_tree(ftp, &there, &here)?;
        } else {
            let mut bytes = Vec::new();
            let mut stream = ftp.retr_as_stream(&there)?;
            stream.read_to_end(&mut bytes)?;
            stream.finish()?;
            fs::write(here, bytes)?;
        }
    }
    Ok(())
}

fn trusting(authority: &str, version: &str) -> Result<ClientConfig, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let versions: &[&SupportedProtocolVersion] = if version == "1.2" { &[&version::TLS12] } else { &[&version::TLS13] };
    Ok(ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots).with_no_client_auth())
}

fn holds(condition: bool, what: &str) -> Done {
    if condition { Ok(()) } else { Err(format!("{what} is wrong").into()) }
}
