//! Words for people: figures, times, causes, explanations, and text that others wrote.

pub mod cause;
mod clean;
pub mod explain;
mod figures;
mod limits;
mod moments;

pub use self::{
    clean::{clean, shortened},
    figures::{bytes, count, digits, duration, seconds},
    moments::{between, clock, moment, span},
};
