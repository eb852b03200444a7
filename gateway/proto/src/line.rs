//! Command lines from bytes: telnet stripped, length capped.
