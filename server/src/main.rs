//! remexd.
fn main() {}
