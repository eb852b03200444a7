//! The keys of a user in a users file.
//!
//! Gets: nothing. Gives: the table. Never: holds a key without effect.

use super::Acts::{NewSessions, Now};
use super::{Default, Key, key};

/// All keys of one user in a users file. `Now`: sessions that run end.
pub const USER_KEYS: &[Key] = &[
    Key {
        name: "name",
        form: "text",
        default: Default::Required,
        acts: Now,
        meaning: "what the client logs in with; 1 to 128 bytes, unique in all users files",
    },
    Key {
        name: "password",
        form: "hash",
        default: Default::Required,
        acts: Now,
        meaning: "argon2id or scrypt as PHC string, bcrypt ($2b$, $2a$, $2y$) or sha512-crypt ($6$); may be missing if there are client_certificates",
    },
    Key { name: "home", form: "path", default: Default::Required, acts: Now, meaning: "inside storage.root; made at first login with storage.dir_mode" },
    key(
        "permissions",
        "all, read-only or list",
        "all",
        Now,
        "list, read, write, append, delete, rename, mkdir, rmdir, attributes, digest; giving more acts for new sessions",
    ),
    Key {
        name: "class",
        form: "name",
        default: Default::Found("none"),
        acts: NewSessions,
        meaning: "a word for users that belong together; stands in the log line of a login",
    },
    key("enabled", "true or false", "true", Now, "false: no login"),
    Key {
        name: "expires",
        form: "date",
        default: Default::Found("never"),
        acts: NewSessions,
        meaning: "no login from then on; 2027-01-01 or 2027-01-01T00:00:00Z, UTC",
    },
    key("from", "list of networks", "[]", NewSessions, "networks to come from; [] is any"),
    Key {
        name: "client_certificates",
        form: "list of cn:, san: or sha256:",
        default: Default::Found("none"),
        acts: Now,
        meaning: "one of them is enough without a password, is needed besides one that is written",
    },
    Key {
        name: "limits.sessions",
        form: "number",
        default: Default::Found("limits.sessions_per_user"),
        acts: NewSessions,
        meaning: "sessions of this user, over limits.sessions_per_user",
    },
    Key {
        name: "limits.bandwidth",
        form: "size",
        default: Default::Found("limits.bandwidth_per_user"),
        acts: NewSessions,
        meaning: "bytes a second of all sessions of this user, over limits.bandwidth_per_user",
    },
    Key { name: "tls_reuse", form: "as data.tls_reuse", default: Default::Found("data.tls_reuse"), acts: NewSessions, meaning: "over data.tls_reuse" },
    Key { name: "upload_end", form: "as data.upload_end", default: Default::Found("data.upload_end"), acts: NewSessions, meaning: "over data.upload_end" },
];
