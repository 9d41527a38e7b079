//! Who may, and how much: users and networks ([`Access`]), connections of one address, datagrams a second, sources that no
//! client has; and what was refused, counted.

mod access;
mod addresses;
mod rates;
mod refusals;
mod sources;

pub use self::{
    access::{Access, Denied},
    refusals::{Refusals, Refused},
};
pub(crate) use self::{
    addresses::Addresses,
    rates::Rates,
    sources::{check_source, may_amplify},
};
