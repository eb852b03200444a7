//! Soon.
//! Soon.
