//! What whoever operates the daemons sees of them, and asks of them.

mod control;
mod doctor;
mod metrics;
mod prometheus;
mod scraper;
