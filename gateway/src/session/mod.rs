//! What one connection owns: the loop, the handlers, the glue.
