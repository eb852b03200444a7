//! A command line → [`crate::command::Command`].
