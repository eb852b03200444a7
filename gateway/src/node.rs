//! Builds, reloads and drains the node: the only file that knows all rooms.
