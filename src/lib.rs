//! Finds leaked TCP sockets and stuck accept queues on Linux, who holds them, and why.
//!
//! Data flows one way; each stage knows only what stands before it:
//!
//! ```text
//! collect  ->  Snapshot  ->  join  ->  SocketTable  ->  diagnose  ->  Report  ->  render
//!  (I/O)       raw facts     pure      who holds what    pure                     to a writer
//! ```
//!
//! The modules in reading order: [`model`] is the vocabulary; [`kernel`] turns the kernel's bytes
//! into it; [`collect`] is the only place that touches the kernel; [`join`] finds what belongs
//! together; [`diagnose`] says what is wrong; [`report`] and [`render`] show it; [`history`] follows
//! it from look to look, and [`screen`] shows that on a terminal; [`pages`] are what `explain`
//! prints; [`record`] keeps a snapshot in a file; [`sight`] says what a run cannot see and what would
//! show it; [`experiment`] says what one connection more has shown, and [`probe`] opens it;
//! [`expression`] reads ss's filter language; [`scenario`] puts the kernel into known states for demos and tests.

pub mod cli;
pub mod collect;
pub mod commands;
pub mod diagnose;
pub mod experiment;
pub mod expression;
pub mod history;
pub mod join;
pub mod kernel;
pub mod model;
pub mod options;
pub mod pages;
pub mod probe;
pub mod record;
pub mod render;
pub mod report;
pub mod scenario;
pub mod screen;
pub mod sight;
