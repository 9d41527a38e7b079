//! The journal of durable executions, on a disk in memory that fails, forgets and loses power, and on a real one.

mod crash;
mod damage;
mod disk;
mod script;
