//! The server under attack: what each kind of attack costs in memory, and what an honest client notices of it.
//!
//! `REMEX_LONG=1 cargo test -p remex --test it attacks -- --nocapture` attacks for as long and with as many as each test
//! says, prints the figures, and holds them to their bounds. Without it the attacks are short, what is held is that the server
//! serves on, and those that take gigabytes or minutes are left out.

mod figures;
mod frames;
#[macro_use]
mod trial;

mod answers;
mod floods;
mod shortage;
mod slow;
mod soak;
mod stdin;
mod storms;
