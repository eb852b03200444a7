//! Says how many users there are, and what is odd about them.
//!
//! Gets: users as they were read, at start and at each reload. Gives: metrics, a line in the log, a detail of readiness.
//! Never: names a user, or keeps anybody out.

use super::Plan;
use crate::auth::Users;
use crate::config::skipped;
use crate::observe::ready::Part;
use crate::observe::{Metrics, Readiness};
use crate::tls::ClientAuthMode;

/// Says it at start, with every entry that was skipped.
pub(super) fn begin(plan: &Plan, metrics: &Metrics, readiness: &Readiness) {
    for problem in &plan.broken_users {
        tracing::error!("users entry skipped: {problem}");
    }
    tell(&plan.users, skipped(&plan.broken_users), plan.config.tls.client_auth.mode, metrics, readiness);
}

/// Says it everywhere; what was odd before and is not any longer is taken back.
pub(super) fn tell(users: &Users, skipped: usize, clients: ClientAuthMode, metrics: &Metrics, readiness: &Readiness) {
    metrics.set_users(users.count(), skipped);
    let oddities = oddities(users, skipped, clients);
    for oddity in &oddities {
        tracing::warn!("{oddity}");
    }
    readiness.set_degraded(Part::Users, (!oddities.is_empty()).then(|| oddities.join("; ")));
}

fn oddities(users: &Users, skipped: usize, clients: ClientAuthMode) -> Vec<String> {
    let mut oddities = Vec::new();
    if skipped > 0 {
        oddities.push(format!("broken entries of users files are skipped: {skipped}; the log and `ftps-gateway check-config` say why"));
    }
    let locked_out = if clients == ClientAuthMode::Off { users.needing_certificates() } else { 0 };
    if locked_out > 0 {
        oddities.push(format!(
            "users who need a client certificate cannot log in, since none is asked for: {locked_out}; set tls.client_auth.mode to optional, or remove their client_certificates"
        ));
    }
    oddities
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::command::UserName;
    use ftps_proto::path::VirtualPath;

    use super::*;
    use crate::auth::{CertificateName, User};

    #[test]
    fn users_who_cannot_log_in_are_said_until_they_can() {
        let name = |text: &str| UserName::new(text.as_bytes()).unwrap();
        let certified = User { client_certificates: vec![CertificateName::CommonName("a".into())], ..User::new(name("a"), VirtualPath::root()) };
        let off = User { enabled: false, name: name("off"), ..certified.clone() };
        let users = Users::new(vec![certified, off, User::new(name("b"), VirtualPath::root())]);
        let readiness = Readiness::new();
        let metrics = Metrics::new(crate::observe::metrics::Build::default());
        tell(&users, 2, ClientAuthMode::Off, &metrics, &readiness);
        let detail = readiness.report().degraded.remove(0).1;
        assert!(detail.contains("skipped: 2;") && detail.contains("asked for: 1;"), "{detail}");
        tell(&users, 0, ClientAuthMode::Optional, &metrics, &readiness);
        assert!(readiness.report().degraded.is_empty());
    }
}
