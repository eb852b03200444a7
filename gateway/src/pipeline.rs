//! One connection, top to bottom.
