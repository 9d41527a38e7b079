//! A server with a policy: what no rule allows does not run, whatever is tried; and what a rule allows does.

mod bypasses;
mod others;
mod rules;
mod site;
mod swaps;
mod tools;
