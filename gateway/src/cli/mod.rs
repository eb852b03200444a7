//! The commands of the binary, their flags and their exit codes.
//!
//! Gets: arguments and environment. Gives: what a person reads, and an exit code of sysexits(3).
//! Never: serves or checks anything itself; each command calls the room that can.

mod arguments;
mod check;
mod ctl;
mod doctor;
mod hash;
mod health;
pub mod quick;
mod serve;
mod token;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

pub use arguments::{Arguments, Command, Health, NewToken, Serve};

/// Understands the command line. Help and version are printed here.
///
/// # Errors
/// The exit code: 0 after help or version, 64 (`ctl`: 2) after a usage error, which has been printed.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let usage = if arguments.get(1).is_some_and(|word| word == "ctl") { ctl::USAGE } else { USAGE };
    let parsed = Arguments::command().try_get_matches_from(arguments).and_then(|matches| Arguments::from_arg_matches(&matches)).and_then(Arguments::checked);
    parsed.map_err(|error| {
        // Nothing can be done when nobody reads it.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(usage),
        }
    })
}

/// Runs a command to its end.
pub async fn run(command: Command) -> ExitCode {
    let code = match command {
        Command::Serve(serve) => serve::run(serve).await,
        Command::CheckConfig { file } => check::run(&file),
        Command::HashPassword => hash::run(),
        Command::NewToken(wanted) => token::run(&wanted),
        Command::Ctl(ctl) => ctl::run(*ctl).await,
        Command::Healthcheck(health) => health::run(&health).await,
        Command::Doctor(doctor) => doctor::run(doctor).await,
        Command::Completions { shell } => completions(shell),
    };
    ExitCode::from(code)
}

/// Says that the fault is ours or the system's.
pub fn fault(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(FAULT)
}

fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ftps-gateway", &mut script);
    print(&String::from_utf8_lossy(&script));
    DONE
}

/// To stdout. A reader that went away (`| head`) is no fault.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// To stderr, with the program's name.
fn complain(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ftps-gateway: {message}");
}

/// All is well; `serve`: drained.
const DONE: u8 = 0;
/// `healthcheck`, `doctor`: not well.
const NOT_WELL: u8 = 1;
/// EX_USAGE: usage or configuration.
const USAGE: u8 = 64;
/// EX_UNAVAILABLE: cannot listen.
const UNAVAILABLE: u8 = 69;
/// EX_SOFTWARE: our fault, or the system's.
const FAULT: u8 = 70;
