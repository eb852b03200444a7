//! Two decisions about data connections: may this one move bytes, and is this upload whole.
//!
//! Gets: what was shown before, what was offered now, where from, and the policy. Gives: a verdict.
//! Never: looks at a socket, a clock or a list of sessions. The truth tables stand in ARCHITECTURE.md and in the tests below.

/// `data.tls_reuse`, or a user's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReusePolicy {
    /// Without proof only from the control connection's true address, by lease, and only while this session has never shown proof.
    #[default]
    Auto,
    /// Proof, always.
    Require,
    /// Without proof by lease, also when the address is hidden.
    Prefer,
    /// Without proof by lease.
    Off,
}

/// `data.upload_end`, or a user's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadEnd {
    /// A bare FIN is taken under the conditions of the design.
    #[default]
    Auto,
    /// close_notify, or nothing is kept.
    Strict,
}

/// What a data connection offered in its finished TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It resumed the session that waits for it.
    Own,
    /// It resumed another living session of the same client.
    Sibling,
    /// It resumed a session of another client.
    Foreign,
    /// A full handshake: nothing was offered, the ticket did not open, or its session and family are dead.
    Nothing,
}

/// Where a data connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The control connection's true address.
    Same,
    /// Another address.
    Other,
    /// Addresses are hidden by a balancer: nobody can tell.
    Hidden,
}

/// What a session has shown on its data connections so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Never a proof.
    Never,
    /// A proof; but a client that uses each ticket once (RFC 8446 §C.4; curl 7.88), as this one may be, may have none left: that of its latest upload was kept
    /// back until it had gone, or another of its sessions used up what they share. And this connection has the control connection's address and TLS fingerprint.
    Withheld,
    /// A proof, and it can show one again.
    Proof,
}

/// What is known when the handshake of a data connection has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What this session has shown on earlier data connections.
    pub shown: Shown,
    /// What this connection offered.
    pub offered: Offered,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether the session holds the lease of (address, port).
    pub leased: bool,
}

/// Whether a data connection may move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes: TLS proved the client. From now on the session has shown proof.
    Proven,
    /// Yes, by lease only.
    Unproven,
    /// Yes, by lease only, if within [`HOLD`] no connection comes that proves itself.
    UnlessProven,
    /// No.
    Refuse(Refusal),
}

/// Why a data connection may not move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It showed a session of another client.
    Foreign,
    /// Policy demands proof, or `auto` does since this session has shown it once.
    ProofRequired,
    /// It comes from another address, or the address is hidden and policy does not take that.
    Address,
    /// The session holds no lease.
    NoLease,
}

/// Whether a data connection may move bytes.
pub const fn decide(arrival: Arrival, policy: ReusePolicy) -> Verdict {
    match arrival.offered {
        Offered::Own | Offered::Sibling => Verdict::Proven,
        Offered::Foreign => Verdict::Refuse(Refusal::Foreign),
        Offered::Nothing => match without_proof(arrival, policy) {
            None if matches!((policy, arrival.shown), (ReusePolicy::Auto, Shown::Withheld)) => Verdict::UnlessProven,
            None => Verdict::Unproven,
            Some(refusal) => Verdict::Refuse(refusal),
        },
    }
}

/// Whether policy would take a connection without proof now: while it would, a session holds a lease for each PASV or EPSV.
pub const fn wants_lease(policy: ReusePolicy, shown: Shown, hidden: bool) -> bool {
    match policy {
        ReusePolicy::Require => false,
        ReusePolicy::Auto => !matches!(shown, Shown::Proof) && !hidden,
        ReusePolicy::Prefer | ReusePolicy::Off => true,
    }
}

/// Whether policy will ask every connection of a session for proof, once it has shown one.
pub const fn insists(policy: ReusePolicy, hidden: bool) -> bool {
    !wants_lease(policy, Shown::Withheld, hidden)
}

/// How the bytes of an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// TLS close_notify.
    CloseNotify,
    /// FIN without close_notify.
    Fin {
        /// No part of a TLS record was left over.
        on_record_boundary: bool,
    },
    /// RST, a TLS error, a deadline.
    Broken,
}

/// What else is known when an upload has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadFacts {
    /// Whether this session ever ended an upload with close_notify.
    pub ended_cleanly_before: bool,
    /// Bytes received.
    pub received: u64,
    /// The size ALLO announced for this transfer, if any.
    pub announced: Option<u64>,
    /// Whether the control connection stayed open and silent for [`CONTROL_QUIET`] after the end.
    pub control_quiet: bool,
}

/// What becomes of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadVerdict {
    /// Commit.
    Keep,
    /// Commit; the record says `end: fin`, and it is counted.
    KeepFin,
    /// 426, nothing is kept.
    Discard,
}

/// What becomes of an upload that ended so.
pub const fn decide_upload_end(end: StreamEnd, facts: UploadFacts, policy: UploadEnd) -> UploadVerdict {
    match (end, policy) {
        (StreamEnd::CloseNotify, _) => UploadVerdict::Keep,
        (StreamEnd::Fin { on_record_boundary: true }, UploadEnd::Auto) if fin_believed(facts) => UploadVerdict::KeepFin,
        (StreamEnd::Fin { .. } | StreamEnd::Broken, UploadEnd::Auto | UploadEnd::Strict) => UploadVerdict::Discard,
    }
}

/// Whether it is worth waiting for [`CONTROL_QUIET`]: every other condition for a bare FIN holds.
pub const fn worth_waiting(end: StreamEnd, facts: UploadFacts, policy: UploadEnd) -> bool {
    matches!(decide_upload_end(end, UploadFacts { control_quiet: true, ..facts }, policy), UploadVerdict::KeepFin)
}

const fn without_proof(arrival: Arrival, policy: ReusePolicy) -> Option<Refusal> {
    match (policy, arrival.origin) {
        (ReusePolicy::Require, _) => Some(Refusal::ProofRequired),
        (ReusePolicy::Auto, _) if matches!(arrival.shown, Shown::Proof) => Some(Refusal::ProofRequired),
        (ReusePolicy::Auto, Origin::Hidden | Origin::Other) | (ReusePolicy::Prefer, Origin::Other) => Some(Refusal::Address),
        // `off` trusts the lease alone, which is kept by address anyhow.
        (ReusePolicy::Auto, Origin::Same) | (ReusePolicy::Prefer, Origin::Same | Origin::Hidden) | (ReusePolicy::Off, _) => {
            if arrival.leased {
                None
            } else {
                Some(Refusal::NoLease)
            }
        }
    }
}

const fn fin_believed(facts: UploadFacts) -> bool {
    let reached = match facts.announced {
        Some(size) => facts.received >= size,
        None => true,
    };
    !facts.ended_cleanly_before && reached && facts.control_quiet
}

/// How long a connection without proof waits for one with proof, where both could be the client's. A round trip, as a rule, is shorter.
pub const HOLD: std::time::Duration = std::time::Duration::from_millis(250);

/// How long the control connection has to stay open and silent after a bare FIN.
pub const CONTROL_QUIET: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use Offered::{Foreign, Nothing, Own, Sibling};
    use Origin::{Hidden, Other, Same};
    use ReusePolicy::{Auto, Off, Prefer, Require};
    use Shown::{Never, Proof, Withheld};

    const P: Verdict = Verdict::Proven;
    const U: Verdict = Verdict::Unproven;
    const W: Verdict = Verdict::UnlessProven;
    const F: Verdict = Verdict::Refuse(Refusal::Foreign);
    const R: Verdict = Verdict::Refuse(Refusal::ProofRequired);
    const A: Verdict = Verdict::Refuse(Refusal::Address);
    const L: Verdict = Verdict::Refuse(Refusal::NoLease);

    type Line = (Offered, Option<Origin>, Option<Shown>, Option<bool>, [Verdict; 4]);

    /// The truth table: columns auto, require, prefer, off. `shown` and `leased` each take all values where the table says `None`.
    #[rustfmt::skip]
    const TABLE: &[Line] = &[
        // offered  origin        shown           leased       auto req pref off
        (Own,       None,         None,           None,        [P,  P,  P,  P]),
        (Sibling,   None,         None,           None,        [P,  P,  P,  P]),
        (Foreign,   None,         None,           None,        [F,  F,  F,  F]),
        (Nothing,   Some(Same),   Some(Never),    Some(true),  [U,  R,  U,  U]),
        (Nothing,   Some(Same),   Some(Never),    Some(false), [L,  R,  L,  L]),
        (Nothing,   Some(Same),   Some(Withheld), Some(true),  [W,  R,  U,  U]),
        (Nothing,   Some(Same),   Some(Withheld), Some(false), [L,  R,  L,  L]),
        (Nothing,   Some(Same),   Some(Proof),    Some(true),  [R,  R,  U,  U]),
        (Nothing,   Some(Same),   Some(Proof),    Some(false), [R,  R,  L,  L]),
        (Nothing,   Some(Hidden), Some(Never),    Some(true),  [A,  R,  U,  U]),
        (Nothing,   Some(Hidden), Some(Never),    Some(false), [A,  R,  L,  L]),
        (Nothing,   Some(Hidden), Some(Withheld), Some(true),  [A,  R,  U,  U]),
        (Nothing,   Some(Hidden), Some(Withheld), Some(false), [A,  R,  L,  L]),
        (Nothing,   Some(Hidden), Some(Proof),    Some(true),  [R,  R,  U,  U]),
        (Nothing,   Some(Hidden), Some(Proof),    Some(false), [R,  R,  L,  L]),
        (Nothing,   Some(Other),  Some(Never),    Some(true),  [A,  R,  A,  U]),
        (Nothing,   Some(Other),  Some(Never),    Some(false), [A,  R,  A,  L]),
        (Nothing,   Some(Other),  Some(Withheld), Some(true),  [A,  R,  A,  U]),
        (Nothing,   Some(Other),  Some(Withheld), Some(false), [A,  R,  A,  L]),
        (Nothing,   Some(Other),  Some(Proof),    Some(true),  [R,  R,  A,  U]),
        (Nothing,   Some(Other),  Some(Proof),    Some(false), [R,  R,  A,  L]),
    ];

    fn both(given: Option<bool>) -> Vec<bool> {
        given.map_or_else(|| vec![false, true], |one| vec![one])
    }

    #[test]
    fn the_truth_table_covers_every_case_once() {
        let mut cases = 0;
        for &(offered, origin, shown, leased, verdicts) in TABLE {
            for origin in origin.map_or_else(|| vec![Same, Other, Hidden], |one| vec![one]) {
                for shown in shown.map_or_else(|| vec![Never, Withheld, Proof], |one| vec![one]) {
                    for leased in both(leased) {
                        for (policy, verdict) in [Auto, Require, Prefer, Off].into_iter().zip(verdicts) {
                            let arrival = Arrival { shown, offered, origin, leased };
                            assert_eq!(decide(arrival, policy), verdict, "{arrival:?} {policy:?}");
                            cases += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(cases, 4 * 3 * 3 * 2 * 4);
    }

    #[test]
    fn a_lease_is_wanted_exactly_while_it_could_help() {
        for policy in [Auto, Require, Prefer, Off] {
            for shown in [Never, Withheld, Proof] {
                for (origin, hidden) in [(Same, false), (Hidden, true)] {
                    let verdict = decide(Arrival { shown, offered: Nothing, origin, leased: true }, policy);
                    let helps = matches!(verdict, Verdict::Unproven | Verdict::UnlessProven);
                    assert_eq!(wants_lease(policy, shown, hidden), helps, "{policy:?} {shown:?} {hidden}");
                }
            }
        }
    }

    #[test]
    fn a_bare_fin_is_kept_only_when_nothing_speaks_against_it() {
        let good = UploadFacts { ended_cleanly_before: false, received: 10, announced: None, control_quiet: true };
        let fin = StreamEnd::Fin { on_record_boundary: true };
        for (end, facts, auto) in [
            (StreamEnd::CloseNotify, good, UploadVerdict::Keep),
            (StreamEnd::CloseNotify, UploadFacts { ended_cleanly_before: true, control_quiet: false, ..good }, UploadVerdict::Keep),
            (fin, good, UploadVerdict::KeepFin),
            (fin, UploadFacts { announced: Some(10), ..good }, UploadVerdict::KeepFin),
            (fin, UploadFacts { announced: Some(9), ..good }, UploadVerdict::KeepFin),
            (fin, UploadFacts { announced: Some(11), ..good }, UploadVerdict::Discard),
            (fin, UploadFacts { ended_cleanly_before: true, ..good }, UploadVerdict::Discard),
            (fin, UploadFacts { control_quiet: false, ..good }, UploadVerdict::Discard),
            (StreamEnd::Fin { on_record_boundary: false }, good, UploadVerdict::Discard),
            (StreamEnd::Broken, good, UploadVerdict::Discard),
        ] {
            assert_eq!(decide_upload_end(end, facts, UploadEnd::Auto), auto, "{end:?} {facts:?}");
            let strict = if end == StreamEnd::CloseNotify { UploadVerdict::Keep } else { UploadVerdict::Discard };
            assert_eq!(decide_upload_end(end, facts, UploadEnd::Strict), strict);
        }
    }

    #[test]
    fn waiting_is_worth_it_only_before_the_last_condition() {
        let facts = UploadFacts { ended_cleanly_before: false, received: 10, announced: None, control_quiet: false };
        let fin = StreamEnd::Fin { on_record_boundary: true };
        assert!(worth_waiting(fin, facts, UploadEnd::Auto));
        assert!(!worth_waiting(fin, facts, UploadEnd::Strict));
        assert!(!worth_waiting(fin, UploadFacts { announced: Some(11), ..facts }, UploadEnd::Auto));
        assert!(!worth_waiting(StreamEnd::CloseNotify, facts, UploadEnd::Auto));
    }
}
