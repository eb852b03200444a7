//! From connect to login and out again: AUTH, PBSZ, PROT, HOST, USER, PASS, REIN, QUIT.
//!
//! Gets: the commands and the outcome of [`Job::Login`]. Gives: replies that do not tell users apart.
//! Never: logs in without TLS, or says which half of user and password was wrong.

use crate::command::{AuthMechanism, HostName, Password, ProtLevel, UserName};
use crate::reply::{Refusal, Reply, Success};

use super::io::{Account, Action, CloseCause, Job, LoginRefusal};
use super::outcome::Pending;
use super::{Login, Machine, Stage};

impl Machine {
    /// Bytes that came along with AUTH TLS were not sent by the one who will prove the other end of TLS: no reply, no command, no session.
    pub(super) fn auth(&mut self, mechanism: AuthMechanism) {
        if self.stage == Stage::Secured {
            return self.refuse(Refusal::TlsAlready);
        }
        let private = match mechanism {
            AuthMechanism::Tls => false,
            // As TLS-P: the data channel is private without PBSZ and PROT.
            AuthMechanism::Ssl => true,
            AuthMechanism::Unknown => return self.refuse(Refusal::BadMechanism),
        };
        if !self.intake.is_empty() {
            return self.close(CloseCause::StarttlsInjection);
        }
        self.private_from_start = private;
        self.succeed(Success::StartTls);
        self.stage = Stage::Handshake;
        self.push(Action::StartTls);
    }

    pub(super) fn buffer_size(&mut self) {
        self.settings.buffer_size_told = true;
        self.succeed(Success::Pbsz);
    }

    /// PROT C would move files in clear text (534); S and E are none of TLS (536, RFC 4217 §9).
    pub(super) fn protection(&mut self, level: ProtLevel) {
        if !self.settings.buffer_size_told {
            return self.refuse(Refusal::PbszFirst);
        }
        match level {
            ProtLevel::Private => {
                self.settings.private = true;
                self.succeed(Success::ProtPrivate);
            }
            ProtLevel::Clear => self.refuse(Refusal::ProtClear),
            ProtLevel::SafeOrConfidential => self.refuse(Refusal::ProtUnsupported),
            ProtLevel::Unknown => self.refuse(Refusal::ProtUnknown),
        }
    }

    /// RFC 7151 §3.1: before USER only. What was said in clear text does not outlive AUTH TLS and is noted unlooked: it may choose the certificate of a client
    /// that says no SNI, and that is all.
    pub(super) fn host(&mut self, name: HostName) {
        if self.login != Login::Nobody {
            return self.refuse(Refusal::HostTooLate);
        }
        if self.stage != Stage::Secured {
            self.settings.host = Some(name);
            return self.succeed(Success::Host);
        }
        self.run(Job::CheckHost(name.clone()), Pending::Host(name));
    }

    /// HOST was looked up. A host that is not served leaves the one of before (RFC 7151 §3.2: 504).
    pub(super) fn host_checked(&mut self, name: HostName, served: bool) {
        if served {
            self.settings.host = Some(name);
            self.succeed(Success::Host);
        } else {
            self.refuse(Refusal::UnknownHost);
        }
    }

    /// 331 for every name, known or not. RFC 959 lets a server take USER at any time; a session that changes its user would change its
    /// registrations, limits and root as well, so REIN comes first.
    pub(super) fn user(&mut self, name: UserName) {
        if self.is_logged_in() {
            return self.refuse(Refusal::AlreadyLoggedIn);
        }
        if self.rules.certificate_login {
            let job = Job::Login { user: name.clone(), password: None, host: self.settings.host.clone() };
            self.login = Login::Nobody;
            return self.run(job, Pending::Certificate(name));
        }
        self.login = Login::Named(name);
        self.succeed(Success::PasswordNeeded);
    }

    /// Every password is checked, also an empty one, so that all refusals take the same time.
    pub(super) fn password(&mut self, password: Password) {
        match std::mem::replace(&mut self.login, Login::Nobody) {
            Login::Nobody => self.refuse(Refusal::UserFirst),
            Login::Named(user) => self.run(Job::Login { user, password: Some(password), host: self.settings.host.clone() }, Pending::Password),
            Login::Account { account, by_certificate } => {
                self.login = Login::Account { account, by_certificate };
                // Clients that send PASS without looking at the 232 before it.
                if by_certificate { self.succeed(Success::PasswordSuperfluous) } else { self.refuse(Refusal::AlreadyLoggedIn) }
            }
        }
    }

    /// PASS was checked.
    pub(super) fn password_checked(&mut self, result: Result<Account, LoginRefusal>) {
        match result {
            Ok(account) => self.enter(account, false),
            Err(LoginRefusal::Incorrect | LoginRefusal::PasswordNeeded) => {
                self.failed_logins += 1;
                self.refuse(Refusal::LoginIncorrect);
                if self.failed_logins >= self.rules.failed_logins {
                    self.close(CloseCause::TooManyLogins);
                }
            }
            Err(LoginRefusal::Banned) => self.banned(Reply::No(Refusal::Banned)),
            Err(LoginRefusal::TooMany) => self.refuse(Refusal::TooManyConnections),
            Err(LoginRefusal::Unavailable) => self.refuse(Refusal::LoginUnavailable),
        }
    }

    /// USER was checked against the client's certificate. What does not log in gets 331 like any name: PASS will tell.
    pub(super) fn certificate_checked(&mut self, name: UserName, result: Result<Account, LoginRefusal>) {
        match result {
            Ok(account) => self.enter(account, true),
            Err(LoginRefusal::Banned) => self.banned(Reply::No(Refusal::Banned)),
            Err(LoginRefusal::Incorrect | LoginRefusal::PasswordNeeded | LoginRefusal::TooMany | LoginRefusal::Unavailable) => {
                self.login = Login::Named(name);
                self.succeed(Success::PasswordNeeded);
            }
        }
    }

    /// RFC 4217 §13 would go back to clear text; nothing is served there, so it goes back to the state after the handshake.
    pub(super) fn reinitialize(&mut self) {
        self.drop_data_port();
        if self.is_logged_in() {
            self.push(Action::LoggedOut);
        }
        self.reset();
        self.succeed(Success::Reinitialized);
    }

    pub(super) fn quit(&mut self) {
        self.succeed(Success::Goodbye);
        self.close(CloseCause::Quit);
    }

    fn enter(&mut self, account: Account, by_certificate: bool) {
        self.login = Login::Account { account, by_certificate };
        self.intake.set_cap(self.rules.line);
        self.succeed(if by_certificate { Success::LoggedInByCertificate } else { Success::LoggedIn });
    }

    pub(super) fn banned(&mut self, reply: Reply) {
        self.answer(reply);
        self.close(CloseCause::Banned);
    }
}
