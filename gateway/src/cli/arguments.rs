//! The flags of every command.
//!
//! Gets: what clap has parsed. Gives: one [`Command`]. Never: opens a file; only forms are checked here.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ftps_proto::command::{Password, UserName};

use super::ctl::Ctl;
use crate::admin::access::Scope;
use crate::config;
use crate::data::PortSet;

/// A clustered FTPS gateway.
///
/// Without a configuration it serves ./ftp-data on this host only, with a user made for the occasion.
#[derive(Debug, Parser)]
#[command(name = "ftps-gateway", version, args_conflicts_with_subcommands = true, arg_required_else_help = false)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node (the default command)
    Serve(Serve),
    /// Check a configuration and its users files, and name every error at once
    CheckConfig {
        /// The configuration file
        file: PathBuf,
    },
    /// Read a password from stdin or a hidden prompt and print its hash for a users file
    HashPassword,
    /// Make a token for the admin API and the line for its tokens file
    NewToken(NewToken),
    /// Ask the admin API of any node: who is here, what was moved, who did what; kick, drain, reload
    Ctl(Box<Ctl>),
    /// Ask the probe of the node on this host; exits with 0 when all is well
    Healthcheck(Health),
    /// Log in from outside as a client would, and say in words what is wrong and what to change
    Doctor(Doctor),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Flags of `serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct Serve {
    /// The configuration file; without one the node starts with the flags below
    #[arg(long, value_name = "FILE", env = "FTPS_GATEWAY_CONFIG", value_parser = maybe_empty())]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    /// Flags of the quick start.
    pub quick: Quick,
}

/// Flags of a start without a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Without a configuration")]
pub struct Quick {
    /// The directory to serve, made if missing [default: ftp-data]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Where to listen for FTP with AUTH TLS [default: 127.0.0.1:2121]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where to listen for FTP with TLS from the first byte, or off [default: 127.0.0.1:9990]
    #[arg(long, value_name = "ADDR|off", value_parser = implicit)]
    pub implicit: Option<Implicit>,
    /// Where the admin interface listens, on loopback [default: 127.0.0.1:7122]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Ports for data connections [default: 50000-50007]
    #[arg(long, value_name = "A-B", value_parser = config::parse_ports)]
    pub data_ports: Option<PortSet>,
    /// The user who may log in [default: demo, with a password made up]
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = account)]
    pub user: Option<Account>,
}

/// `--implicit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implicit {
    /// Not at all.
    Off,
    /// Here.
    At(SocketAddr),
}

/// `--user`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: UserName,
    /// The password, not empty.
    pub password: Password,
}

/// Flags of `new-token`.
#[derive(Clone, Debug, Args)]
pub struct NewToken {
    /// Who will have it; stands in the audit
    #[arg(long, value_name = "NAME", value_parser = token_name)]
    pub name: String,
    /// What it may do: read, bans, sessions, operate, admin
    #[arg(long, value_name = "A,B", value_delimiter = ',', required = true, value_parser = scope)]
    pub scopes: Vec<TokenScope>,
}

/// One of `--scopes`.
#[derive(Clone, Copy, Debug)]
pub struct TokenScope(pub Scope);

/// Flags of `healthcheck`.
#[derive(Clone, Debug, Args)]
pub struct Health {
    /// Ask whether it is ready for clients, not only whether it lives
    #[arg(long)]
    pub ready: bool,
    /// The node's configuration file, which says where it answers
    #[arg(long, value_name = "FILE", env = "FTPS_GATEWAY_CONFIG", value_parser = maybe_empty())]
    pub config: Option<PathBuf>,
    /// Ask here, for example http://127.0.0.1:7122
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Flags of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// Whom to examine: HOST, HOST:PORT; without a port 21, with --implicit 990
    pub host: String,
    /// Log in as this user; the password is asked for, or read from stdin
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// TLS from the first byte, without AUTH TLS
    #[arg(long)]
    pub implicit: bool,
    /// Trust the authorities in this PEM file instead of those of this machine
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Log in although the certificate cannot be verified: whoever answers learns the password
    #[arg(long)]
    pub insecure: bool,
    /// How many sessions and how many data connections to try
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub connections: u8,
    /// Where to write a small file, which is removed again
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub directory: String,
    /// Ask the sidecar of a node too, for example http://127.0.0.1:7122
    #[arg(long, value_name = "URL", env = "FTPS_GATEWAY_ADMIN_URL")]
    pub url: Option<String>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For a person.
    Text,
    /// For a script.
    Json,
}

impl Arguments {
    /// The command, when its flags go together.
    pub(super) fn checked(self) -> Result<Command, clap::Error> {
        let mut command = self.command.unwrap_or(Command::Serve(self.serve));
        match &mut command {
            Command::Serve(Serve { config, quick }) => {
                forget_empty(config);
                if config.is_some() && *quick != Quick::default() {
                    let message =
                        "--config (or FTPS_GATEWAY_CONFIG) and flags of a start without a configuration do not go together; write their values in the file";
                    return Err(Arguments::command().error(ErrorKind::ArgumentConflict, message));
                }
            }
            Command::Healthcheck(health) => forget_empty(&mut health.config),
            Command::CheckConfig { .. } | Command::HashPassword | Command::NewToken(_) | Command::Ctl(_) | Command::Doctor(_) | Command::Completions { .. } => {
            }
        }
        Ok(command)
    }
}

/// Takes an empty path too, which clap's own parser refuses.
fn maybe_empty() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// `FTPS_GATEWAY_CONFIG=` is the same as not set.
fn forget_empty(path: &mut Option<PathBuf>) {
    *path = path.take().filter(|path| !path.as_os_str().is_empty());
}

fn implicit(text: &str) -> Result<Implicit, String> {
    match text {
        "off" => Ok(Implicit::Off),
        address => address.parse().map(Implicit::At).map_err(|_| "write IP:PORT, for example 127.0.0.1:9990, or off".to_owned()),
    }
}

fn token_name(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
    if fits { Ok(text.to_owned()) } else { Err("write 1 to 64 letters, digits, '-', '_', '.' or '@'".into()) }
}

fn scope(text: &str) -> Result<TokenScope, String> {
    let found = Scope::WORDS.iter().find(|(word, _)| *word == text).map(|(_, scope)| TokenScope(*scope));
    found.ok_or_else(|| format!("write one of {}", Scope::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")))
}

fn account(text: &str) -> Result<Account, String> {
    let advice = || "write NAME:PASSWORD, both not empty and the name without control characters".to_owned();
    let (name, password) = text.split_once(':').filter(|(_, password)| !password.is_empty()).ok_or_else(advice)?;
    let name = UserName::new(name.as_bytes()).ok_or_else(advice)?;
    let password = Password::new(password.as_bytes()).ok_or_else(|| format!("write a password of at most {} bytes", Password::MAX))?;
    Ok(Account { name, password })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        Arguments::try_parse_from(line.split(' ')).and_then(Arguments::checked).map_err(|error| error.kind())
    }

    #[test]
    fn the_flags_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
        for line in ["ftps-gateway --config g.yaml", "ftps-gateway serve --config g.yaml"] {
            let Ok(Command::Serve(serve)) = parse(line) else { panic!("{line}") };
            assert_eq!(serve.config, Some("g.yaml".into()));
        }
        let Ok(Command::Serve(serve)) = parse("ftps-gateway --listen [::1]:0 --implicit off --data-ports 0/8 --user a:b:c") else {
            panic!("flags of the quick start")
        };
        assert_eq!((serve.quick.implicit, serve.quick.data_ports), (Some(Implicit::Off), Some(PortSet::Any(8))));
        let account = serve.quick.user.unwrap();
        assert_eq!((account.name.as_str(), account.password.expose()), ("a", &b"b:c"[..]));
    }

    #[test]
    fn an_empty_path_is_none() {
        // As `FTPS_GATEWAY_CONFIG=` is.
        let Ok(Command::Serve(serve)) = parse("ftps-gateway --config  --listen 127.0.0.1:0") else { panic!("a start without a configuration") };
        assert_eq!(serve.config, None);
    }

    #[test]
    fn what_does_not_go_together_is_a_usage_error() {
        assert_eq!(parse("ftps-gateway --config g.yaml --root x").unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("ftps-gateway serve --config g.yaml --user a:b").unwrap_err(), ErrorKind::ArgumentConflict);
        for line in [
            "ftps-gateway --root x hash-password",
            "ftps-gateway --user a",
            "ftps-gateway --user :b",
            "ftps-gateway --data-ports 9-1",
            "ftps-gateway check-config",
            "ftps-gateway x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
