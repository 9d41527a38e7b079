//! What an isolated command cannot reach. Each way out is tried twice: kept from what it reaches, where it must fail, and
//! allowed that, where it must succeed; so a way that never worked proves nothing here.

mod child;
mod files;
mod network;
mod support;
mod unavailable;
