//! The journal of durable executions, on a disk in memory that fails, forgets and loses power, and on a real one.

mod claims;
mod crash;
mod damage;
mod disk;
mod faults;
mod keep;
mod real;
mod script;
