//! Shared bytes with a lifetime, sealed.
