//! Sockets of all kinds, listened on and connected to, by this user and another one.

#[cfg(test)]
mod accept;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod unix;
