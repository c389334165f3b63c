//! Words for people: figures, times, causes, requests, and text that others wrote.

pub mod cause;
mod clean;
pub mod explain;
mod figures;
mod limits;
mod moments;
mod request;

pub use self::{
    clean::{clean, shortened},
    figures::{bytes, count, digits, duration, seconds},
    moments::{between, clock, moment, span},
    request::{NOT_OVER, chain, client, operation_and_path, request, wait, wait_of},
};
