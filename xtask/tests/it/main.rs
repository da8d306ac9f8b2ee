//! Integration tests of the command line, with fake steps and with real builds.

// Tests panic on unexpected results.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod audit;
mod bills;
mod cache;
mod cases;
mod check;
mod cli;
mod common;
mod elsewhere;
mod exchange;
mod expressions;
mod failures;
mod generic;
mod inputs;
mod jobs;
mod packages;
mod plain;
mod plan;
mod quick;
mod real;
mod runner;
mod serve;
mod service;
mod suites;
mod verdicts;
mod workflows;
