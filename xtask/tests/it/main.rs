//! The tool as a program: its command line with stand-ins for the work, and the real thing.

// A test that meets something unexpected says so by ending.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod audit;
mod bills;
mod cases;
mod cli;
mod common;
mod exchange;
mod expressions;
mod generic;
mod inputs;
mod jobs;
mod plain;
mod real;
mod runner;
mod serve;
mod service;
mod suites;
mod verdicts;
mod workflows;
