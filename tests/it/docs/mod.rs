//! What documents say, done: their console blocks print what they say, their excerpts are of the programs that are tested.

mod clients;
mod console;
mod durability;
mod excerpts;
mod grpcurl;
mod json;
mod over_tls;
mod readme;
mod security;
