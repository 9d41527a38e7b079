//! What documents say, done: their console blocks print what they say, their excerpts are of the programs that are tested.

mod clients;
mod console;
mod excerpts;
mod grpcurl;
mod json;
mod readme;
mod security;
